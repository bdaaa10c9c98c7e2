//! What was agreed with a client: which tasks each of its orders passes, its defaults and limits.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    address,
    bounds::{OUTPUT_BYTES, OUTPUTS},
    fault::Fault,
    json::Json,
    message::Mode,
    stages::reserved,
    tasks::{TaskList, is_service_name},
};

/// The client of orders that name none. Unless it is defined it may ask for any tasks.
pub const ANYBODY: &str = "anybody";

/// The priority of an order when neither it nor its contract names one.
pub const PRIORITY: u8 = 5;

/// The contract of a client: `PUT /api/v1/clients/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The tasks of an order that brings none, in their order.
    #[serde(default = "no_tasks", alias = "todo")]
    #[schema(value_type = Vec<Value>)]
    pub tasks: Value,
    /// Which tasks an order may bring itself.
    #[serde(default)]
    pub own_tasks: OwnTasks,
    /// The mode of an order that names none.
    #[serde(default)]
    pub mode: Mode,
    /// How long an order may take, at most, and when it names no deadline; none: as long as it says, or for ever.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "5s")]
    pub deadline: Option<Duration>,
    /// 0 to 9, the greatest that an order may name, and that of orders which name none: tasks of orders with a greater
    /// one go first. None: orders name any, and have [`PRIORITY`] when they name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Its share among clients of the same priority, 1 to 1,000.
    #[serde(default = "one")]
    pub weight: u32,
    /// How much it may send.
    #[serde(default)]
    pub limits: Limits,
    /// Where the end of each order is told besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
}

/// Which tasks an order may bring itself.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OwnTasks {
    /// None.
    Never,
    /// Those of the contract, in any order.
    #[default]
    Listed,
    /// Any.
    Any,
}

/// How much a client may send; what is left out has no bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Orders a second in the long run, 0.001 to 1,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_per_second: Option<f64>,
    /// So many at once beyond that, 1 to 1,000,000; none: those of one second, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Orders that have not come to their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_orders: Option<u64>,
}

/// Where the end of an order is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "to")]
pub enum Output {
    /// A POST with the order's end to this URL.
    Callback {
        /// `http://...`.
        url: String,
    },
    /// A line in a file of the folder for results.
    File {
        /// The name of the file, without folders.
        name: String,
    },
    /// A key in Redis that is set to the end; `{id}` in it stands for the order's id.
    Redis {
        /// `redis://...`.
        url: String,
        /// The key.
        key: String,
    },
}

impl Default for Contract {
    fn default() -> Self {
        Self {
            tasks: no_tasks(),
            own_tasks: OwnTasks::Any,
            mode: Mode::default(),
            deadline: None,
            priority: None,
            weight: one(),
            limits: Limits::default(),
            outputs: Vec::new(),
        }
    }
}

fn no_tasks() -> Value {
    Value::Array(Vec::new())
}

fn one() -> u32 {
    1
}

impl Contract {
    /// Its list of tasks, or everything that is wrong with it.
    ///
    /// # Errors
    /// All faults, with pointers into the document.
    pub fn check(&self) -> Result<TaskList, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, pointer: &str, detail: &str| {
            if !holds {
                faults.push(Fault::new(pointer, detail));
            }
        };
        let priority = self.priority.unwrap_or(PRIORITY);
        check(priority <= 9, "/priority", "it must be 0 to 9");
        check(
            (1..=1_000).contains(&self.weight),
            "/weight",
            "it must be 1 to 1000",
        );
        let rate = self.limits.orders_per_second.unwrap_or(1.0);
        check(
            (0.001..=1e6).contains(&rate),
            "/limits/orders_per_second",
            "it must be 0.001 to 1000000",
        );
        let burst = self.limits.burst.unwrap_or(1);
        check(
            (1..=1_000_000).contains(&burst),
            "/limits/burst",
            "it must be 1 to 1000000",
        );
        let text = format!("there may be at most {OUTPUTS}");
        check(self.outputs.len() <= OUTPUTS, "/outputs", &text);
        for (index, output) in self.outputs.iter().enumerate() {
            if let Err(detail) = output.check() {
                faults.push(Fault::new(format!("/outputs/{index}"), detail));
            }
        }
        let list = TaskList::parse(&Json::from_value(&self.tasks));
        if let Ok(list) = &list {
            let reserved = list.services().filter_map(|name| reserved(name));
            faults.extend(reserved.map(|detail| Fault::new("/tasks", detail)));
        }
        match list {
            Ok(list) if faults.is_empty() => Ok(list),
            Ok(_) => Err(faults),
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|fault| fault.under("/tasks")));
                Err(faults)
            }
        }
    }

    /// What an order asks for beyond what was agreed with a client.
    pub fn exceeded(
        &self,
        client: &str,
        priority: Option<u8>,
        deadline: Option<Duration>,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let (Some(asked), Some(most)) = (priority, self.priority)
            && asked > most
        {
            let text = format!("the contract of `{client}` allows a priority of {most} at most");
            faults.push(Fault::new("/priority", text));
        }
        if let (Some(asked), Some(most)) = (deadline, self.deadline)
            && asked > most
        {
            let most = humantime_serde::re::humantime::format_duration(most);
            let text = format!("the contract of `{client}` allows a deadline of {most} at most");
            faults.push(Fault::new("/deadline", text));
        }
        faults
    }

    /// Whether an order may bring these tasks; else the first that it may not.
    pub fn allows<'a>(&self, listed: &TaskList, own: &'a TaskList) -> Result<(), Option<&'a str>> {
        match self.own_tasks {
            OwnTasks::Any => Ok(()),
            OwnTasks::Never => Err(None),
            OwnTasks::Listed => {
                let may: BTreeSet<&str> = listed.services().map(|service| &**service).collect();
                let outside = own.services().find(|service| !may.contains(&***service));
                outside.map_or(Ok(()), |service| Err(Some(service)))
            }
        }
    }
}

impl Output {
    /// Whether it can be told there; else what is wrong.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        let text = serde_json::to_vec(self).expect("outputs are plain");
        if text.len() > OUTPUT_BYTES {
            return Err(format!("it must be at most {OUTPUT_BYTES} bytes of JSON"));
        }
        match self {
            Self::File { name } if !is_service_name(name) => Err(format!(
                "`{name}` is no name of a file: 1 to 64 letters, digits, `.`, `_` and `-`"
            )),
            Self::Redis { key, .. } if key.is_empty() => Err("the key is empty".to_owned()),
            Self::Callback { url } => address::check(url, "http"),
            Self::Redis { url, .. } => address::check(url, "redis"),
            Self::File { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_asks_for_no_more_than_was_agreed() {
        let contract = Contract {
            priority: Some(0),
            deadline: Some(Duration::from_secs(5)),
            ..Contract::default()
        };
        let asked = |priority, seconds: u64| {
            contract.exceeded("c", Some(priority), Some(Duration::from_secs(seconds)))
        };
        assert_eq!(asked(0, 5), []);
        let faults = asked(9, 6);
        let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
        assert_eq!(
            told,
            [
                "/priority: the contract of `c` allows a priority of 0 at most",
                "/deadline: the contract of `c` allows a deadline of 5s at most",
            ]
        );
        assert_eq!(contract.exceeded("c", None, None), []);
        let long = Some(Duration::from_secs(1 << 30));
        assert_eq!(Contract::default().exceeded("c", Some(9), long), []);
    }
}
