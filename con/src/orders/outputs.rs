//! Tells the ends of orders where contracts and orders want them told: at least once, also over a restart.

use std::{path::PathBuf, sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use edgeless_orders::{body::Body, book::Event, contract::Output, view::EndView};
use tokio::{
    io::AsyncWriteExt,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{Post, endpoint};

/// How many are told at once.
const AT_ONCE: usize = 64;
/// How long telling one may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is tried, with pauses from half a second to a minute: about a quarter of an hour in all.
const TRIES: usize = 20;

/// Tells ends.
#[derive(Clone)]
pub(super) struct Outputs {
    client: reqwest::Client,
    results: Option<Arc<PathBuf>>,
    /// One line of a file at a time.
    file: Arc<tokio::sync::Mutex<()>>,
    inbox: mpsc::WeakSender<Post>,
}

impl Outputs {
    pub(super) fn new(results: Option<PathBuf>, inbox: mpsc::WeakSender<Post>) -> Self {
        Self {
            client: endpoint::client(),
            results: results.map(Arc::new),
            file: Arc::default(),
            inbox,
        }
    }

    /// Runs until no more orders end.
    pub(super) async fn run(self, mut ends: mpsc::Receiver<Arc<Body>>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut telling = JoinSet::new();
        while let Some(body) = ends.recv().await {
            while telling.try_join_next().is_some() {}
            let told = body.delivered.iter().map(|(output, _)| *output);
            let told: Vec<u32> = told.collect();
            for (number, output) in (0_u32..).zip(body.outputs()) {
                if told.contains(&number) {
                    continue;
                }
                let place = Arc::clone(&places).acquire_owned().await;
                let (outputs, body) = (self.clone(), Arc::clone(&body));
                telling.spawn(async move {
                    outputs.tell_until_told(&body, number, &output).await;
                    drop(place);
                });
            }
        }
    }

    async fn tell_until_told(&self, body: &Arc<Body>, number: u32, output: &Output) {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(60))
            .with_max_times(TRIES)
            .with_jitter();
        let told = (|| self.tell(body, output)).retry(pauses).await;
        let id = body.id;
        let problem = told.err();
        if let Some(problem) = &problem {
            tracing::warn!(order = %id, problem, "the end of an order cannot be told");
        }
        if let Some(inbox) = self.inbox.upgrade() {
            let event = Event::Delivered {
                id,
                output: number,
                problem,
            };
            // When everything ends, it is told again after the next start.
            inbox.send(Post::Event(event)).await.ok();
        }
    }

    async fn tell(&self, body: &Arc<Body>, output: &Output) -> Result<(), String> {
        let text = serde_json::to_vec(&EndView::from(body)).map_err(|error| error.to_string())?;
        let telling = async {
            match output {
                Output::Callback { url } => self.post(url, text).await,
                Output::File { name } => self.append(name, text).await,
                Output::Redis { url, key } => set(url, key, body, text).await,
            }
        };
        let told = tokio::time::timeout(DEADLINE, telling).await;
        told.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn post(&self, url: &str, text: Vec<u8>) -> Result<(), String> {
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json");
        let response = request
            .body(text)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("{url}: {}", response.status())),
        }
    }

    async fn append(&self, name: &str, mut text: Vec<u8>) -> Result<(), String> {
        let folder = self
            .results
            .as_ref()
            .ok_or("key `orders.results_dir` of ε-CON names no folder")?;
        text.push(b'\n');
        let write = async {
            let _one = self.file.lock().await;
            tokio::fs::create_dir_all(&**folder).await?;
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options
                .create(true)
                .append(true)
                .open(folder.join(name))
                .await?;
            file.write_all(&text).await?;
            file.sync_data().await
        };
        write
            .await
            .map_err(|error: std::io::Error| format!("file `{name}`: {error}"))
    }
}

async fn set(url: &str, key: &str, body: &Body, text: Vec<u8>) -> Result<(), String> {
    let key = key.replace("{id}", &body.id.to_string());
    let set = async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SET")
            .arg(key)
            .arg(text)
            .query_async::<()>(&mut connection)
            .await
    };
    set.await
        .map_err(|error: redis::RedisError| format!("{url}: {error}"))
}
