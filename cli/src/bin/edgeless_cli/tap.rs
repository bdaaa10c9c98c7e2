//! `edgeless_cli tap WORKFLOW/VERTEX`: the messages of a running function or resource, as they pass.
//!
//! ε-CON says where the vertex runs; its nodes are asked for the messages.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use clap::Args;
use edgeless_proto::v1::{self, node_agent_client::NodeAgentClient};
use edgeless_types::{PhysicalId, Timestamp};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    client::Client,
    failure::Failure,
    output::{Output, Style, chain},
    view::{Domain, Instance, Node, Workflow},
};

/// Messages that wait to be shown, over all nodes.
const WAITING: usize = 256;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Tap {
    /// The workflow, by id or by name, a slash, and the name of a function or resource
    #[arg(value_name = "WORKFLOW/VERTEX")]
    vertex: String,
    /// Only messages whose payload contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    contains: String,
    /// At most so many messages a second from each running copy; the others are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: u32,
    /// At most so many bytes of each payload
    #[arg(long, value_name = "NUMBER", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

pub(crate) async fn run(tap: Tap, client: &Client, output: &Output) -> Result<(), Failure> {
    let copies = copies(&tap.vertex, client).await?;
    let (give, mut take) = mpsc::channel(WAITING);
    for (instance, agent_url) in copies {
        let messages = open(&tap, &instance, agent_url).await?;
        tokio::spawn(pump(messages, give.clone()));
    }
    drop(give);
    let mut left = tap.count.unwrap_or(u64::MAX);
    while left > 0 {
        let next = tokio::select! {
            next = take.recv() => next,
            // Whoever has seen enough.
            _ = tokio::signal::ctrl_c() => break,
        };
        let message = next.ok_or_else(|| Failure::Ended(tap.vertex.clone()))?;
        if !output.line(&as_json(&message), |style| line(&message, style))? {
            break;
        }
        left -= 1;
    }
    Ok(())
}

/// The running copies of a vertex and the agents of their nodes.
async fn copies(vertex: &str, client: &Client) -> Result<Vec<(Instance, String)>, Failure> {
    let (workflow, name) = vertex
        .rsplit_once('/')
        .ok_or_else(|| Failure::Usage(format!("`{vertex}` is not WORKFLOW/VERTEX")))?;
    let workflow = find(workflow, client).await?;
    let mut vertices = workflow.functions.iter().chain(&workflow.resources);
    let found = vertices.find(|vertex| vertex.name == name);
    let unknown = |what, id: &str| Failure::Unknown {
        what,
        id: id.to_owned(),
    };
    let found = found.ok_or_else(|| unknown("vertex", name))?;
    if found.instances.is_empty() {
        let why = found.waiting.as_deref().unwrap_or("it is starting");
        return Err(Failure::Usage(format!("`{name}` does not run: {why}")));
    }
    let agents = agents(client).await?;
    let copy = |instance: &Instance| {
        let agent_url = agents.get(&instance.node_id);
        let agent_url = agent_url.ok_or_else(|| unknown("node", &instance.node_id))?;
        Ok((instance.clone(), agent_url.clone()))
    };
    found.instances.iter().map(copy).collect()
}

/// A workflow by its id, or by a name that only it has.
async fn find(workflow: &str, client: &Client) -> Result<Workflow, Failure> {
    if workflow.parse::<Uuid>().is_ok() {
        return client.view(&client.get(&["workflows", workflow]).await?);
    }
    let all: Vec<Workflow> = client.view(&client.get(&["workflows"]).await?)?;
    let mut named = all.into_iter().filter(|it| it.name == workflow);
    match (named.next(), named.next()) {
        (Some(only), None) => client.view(&client.get(&["workflows", &only.workflow_id]).await?),
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "several workflows are named `{workflow}`; give an id"
        ))),
        (None, _) => Err(Failure::Unknown {
            what: "workflow",
            id: workflow.to_owned(),
        }),
    }
}

async fn agents(client: &Client) -> Result<BTreeMap<String, String>, Failure> {
    let domains: Vec<Domain> = client.view(&client.get(&["domains"]).await?)?;
    let mut agents = BTreeMap::new();
    for domain in domains {
        let nodes = client.get(&["domains", &domain.domain_id, "nodes"]).await?;
        let nodes: Vec<Node> = client.view(&nodes)?;
        agents.extend(nodes.into_iter().map(|node| (node.node_id, node.agent_url)));
    }
    Ok(agents)
}

type Messages = tonic::Streaming<v1::Tapped>;

async fn open(tap: &Tap, instance: &Instance, agent_url: String) -> Result<Messages, Failure> {
    let failed = |problem: String| Failure::Node {
        url: agent_url.clone(),
        problem,
    };
    let physical_id: PhysicalId = instance
        .physical_id
        .parse()
        .map_err(|_| failed("its id is no UUID".to_owned()))?;
    let agent = tonic::transport::Endpoint::from_shared(agent_url.clone())
        .map_err(|error| failed(error.to_string()))?
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(PATIENCE)
        .connect()
        .await
        .map_err(|error| failed(format!("it cannot be reached: {}", chain(&error))))?;
    let mut agent = NodeAgentClient::new(agent);
    let request = v1::TapRequest {
        physical_id: Bytes::copy_from_slice(physical_id.uuid().as_bytes()),
        contains: Bytes::copy_from_slice(tap.contains.as_bytes()),
        per_second: tap.per_second,
        payload_bytes: tap.bytes,
    };
    let opened = tokio::time::timeout(PATIENCE, agent.tap(request)).await;
    let opened = opened
        .map_err(|_| failed("it does not answer".to_owned()))?
        .map_err(|status| failed(status.message().to_owned()))?;
    Ok(opened.into_inner())
}

/// Passes messages on until there are no more, or nobody wants them.
async fn pump(mut messages: Messages, give: mpsc::Sender<v1::Tapped>) {
    while let Ok(Some(message)) = messages.message().await {
        if give.send(message).await.is_err() {
            return;
        }
    }
}

fn way(message: &v1::Tapped) -> String {
    let source = message.source.as_ref();
    let source = source.and_then(|it| Uuid::from_slice(&it.physical_id).ok());
    match (&message.channel, source) {
        (Some(channel), _) => format!("→ {channel}"),
        (None, Some(source)) => format!("← {source}"),
        (None, None) => "←".to_owned(),
    }
}

fn line(message: &v1::Tapped, style: Style) -> String {
    let at = Timestamp::from_nanos(message.at_ns);
    let payload = String::from_utf8_lossy(&message.payload)
        .escape_debug()
        .to_string();
    let cut = match message.payload_bytes > message.payload.len() as u64 {
        true => format!("… ({} bytes)", message.payload_bytes),
        false => String::new(),
    };
    let missed = match message.missed {
        0 => String::new(),
        number => format!("({number} not shown)\n"),
    };
    let tab = match style {
        Style::Terminal => "  ",
        Style::Pipe | Style::Json => "\t",
    };
    format!(
        "{missed}{at}{tab}{}{tab}{}{tab}{payload}{cut}\n",
        message.kind,
        way(message)
    )
}

fn as_json(message: &v1::Tapped) -> serde_json::Value {
    let source = message.source.as_ref();
    let source = source.and_then(|it| Uuid::from_slice(&it.physical_id).ok());
    json!({
        "at": Timestamp::from_nanos(message.at_ns).to_string(),
        "id": format!("{:016x}{:016x}", message.id_origin, message.id_sequence),
        "kind": message.kind,
        "source": source,
        "channel": message.channel,
        "payload": String::from_utf8_lossy(&message.payload),
        "payload_bytes": message.payload_bytes,
        "missed": message.missed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_however_odd_its_payload_is() {
        let message = v1::Tapped {
            at_ns: 1_000_000_002,
            channel: Some("out".to_owned()),
            kind: "cast".to_owned(),
            payload: Bytes::from_static(b"a\nb\x1b[2J"),
            payload_bytes: 100,
            missed: 3,
            ..v1::Tapped::default()
        };
        let shown = line(&message, Style::Pipe);
        assert_eq!(
            shown,
            "(3 not shown)\n1.000000002\tcast\t→ out\ta\\nb\\u{1b}[2J… (100 bytes)\n"
        );
    }
}
