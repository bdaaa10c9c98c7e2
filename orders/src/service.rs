//! What a service is: what runs for it, how it is called, how often a task is tried.

use std::{collections::BTreeMap, time::Duration};

use edgeless_types::{Timestamp, workflow::FunctionClass};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{address, fault::Fault};

/// A service as it is defined: `PUT /api/v1/services/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The function that does the work, as in a workflow. Either this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub class_specification: Option<FunctionClass>,
    /// An HTTP endpoint outside that does it: each task is a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Requirements of the function and `init-payload`, as in a workflow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it gets and returns.
    #[serde(default)]
    pub call: Call,
    /// In which form it gets and returns that.
    #[serde(default)]
    pub payload: Payload,
    /// It gets an envelope with order, task and attempt around the payload, and answers with one.
    #[serde(default)]
    pub envelope: bool,
    /// To do a task again does no harm, also with another input: it may be handed out before what it builds on is on
    /// the disk. After a crash it may come again although it was done, and what came before it may have another result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// Never fewer copies than this are there; 0 to 1,000. With 0 its function sleeps when it is idle.
    #[serde(default = "one")]
    pub min_instances: u32,
    /// Never more copies than this are there; 1 to 1,000. None: one, if it may sleep and no annotation is about scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
    /// Without tasks for so long it sleeps at the latest, if `min_instances` is 0; 100 ms to 30 days.
    #[serde(default = "idle_after", with = "humantime_serde")]
    #[schema(value_type = String, example = "5s")]
    pub idle_after: Duration,
    /// How long an attempt may take; 1 ms to 1 day.
    #[serde(default = "timeout", with = "humantime_serde")]
    #[schema(value_type = String, example = "5s")]
    pub timeout: Duration,
    /// How often a task is tried, and when again.
    #[serde(default)]
    pub retries: Retries,
    /// How many tasks are with it at once over each line, 1 to 10,000; none: as many as do not wait for one another there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// What a service gets and returns.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The input of its task; it returns the result.
    #[default]
    Value,
    /// The whole message of the order; it returns the message with its part done.
    Message,
}

/// In which form a service gets its input and returns its result.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// JSON.
    #[default]
    Json,
    /// The bytes of the blob that the input names; what it returns becomes a blob, and the result names that.
    Bytes,
}

/// How often a task is tried, and when again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// At most so many attempts that reached the service; 1 to 1,000.
    pub attempts: u32,
    /// The pause after the first; it doubles with each. 1 ms to 1 hour.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = String, example = "5s")]
    pub pause: Duration,
    /// The longest pause; up to 1 day.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = String, example = "5s")]
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(100),
            longest: Duration::from_secs(30),
        }
    }
}

fn one() -> u32 {
    1
}

fn idle_after() -> Duration {
    Duration::from_secs(60)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl ServiceSpec {
    /// Everything that is wrong with it; nothing: it is sound.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.wrong_behind_it();
        faults.extend(self.wrong_times());
        let mut check = |holds: bool, pointer: &str, detail: &str| {
            if !holds {
                faults.push(Fault::new(pointer, detail));
            }
        };
        let whole = self.call == Call::Message || self.envelope;
        check(
            self.payload == Payload::Json || !whole,
            "/payload",
            "`bytes` goes with `call: value` and without an envelope",
        );
        let text = "it must be 0 to 1000";
        check(self.min_instances <= 1_000, "/min_instances", text);
        let most = self.max_instances.unwrap_or(1_000);
        let is_sound = (1..=1_000).contains(&most) && most >= self.min_instances;
        let text = "it must be 1 to 1000, and not less than `min_instances`";
        check(is_sound, "/max_instances", text);
        let attempts = (1..=1_000).contains(&self.retries.attempts);
        check(attempts, "/retries/attempts", "it must be 1 to 1000");
        let concurrency = self.concurrency.unwrap_or(1);
        let is_sound = (1..=10_000).contains(&concurrency);
        check(is_sound, "/concurrency", "it must be 1 to 10000");
        faults
    }

    fn wrong_behind_it(&self) -> Vec<Fault> {
        match (&self.class_specification, &self.url) {
            (None, None) => {
                let text = "a service has a `class_specification` or a `url`";
                vec![Fault::new("", text)]
            }
            (Some(_), Some(_)) => {
                let text = "a service has either a `class_specification` or a `url`, not both";
                vec![Fault::new("/url", text)]
            }
            (None, Some(url)) => {
                let mut faults = Vec::new();
                if let Err(detail) = address::check(url, "http") {
                    faults.push(Fault::new("/url", detail));
                }
                if !self.annotations.is_empty() {
                    let text = "an endpoint outside has no requirements; leave them out";
                    faults.push(Fault::new("/annotations", text));
                }
                faults
            }
            (Some(_), None) => self.doubly_said(),
        }
    }

    /// Annotations that are fields of a service: which of both counts would be a riddle.
    fn doubly_said(&self) -> Vec<Fault> {
        ["min_instances", "max_instances", "idle_after"]
            .into_iter()
            .filter(|&key| self.annotations.contains_key(key))
            .map(|key| {
                let text =
                    format!("a service says this in its own field `{key}`, beside `annotations`");
                Fault::new(format!("/annotations/{key}"), text)
            })
            .collect()
    }

    fn wrong_times(&self) -> Vec<Fault> {
        let millis = Duration::from_millis;
        let Retries { pause, longest, .. } = self.retries;
        [
            (
                "/idle_after",
                self.idle_after,
                millis(100),
                30 * DAY,
                "it must be 100ms to 30days",
            ),
            (
                "/timeout",
                self.timeout,
                millis(1),
                DAY,
                "it must be 1ms to 1day",
            ),
            (
                "/retries/pause",
                pause,
                millis(1),
                DAY / 24,
                "it must be 1ms to 1hour",
            ),
            (
                "/retries/longest",
                longest,
                pause,
                DAY,
                "it must not be less than `pause`, and at most 1day",
            ),
        ]
        .into_iter()
        .filter(|(_, value, least, most, _)| !(least..=most).contains(&value))
        .map(|(pointer, _, _, _, detail)| Fault::new(pointer, detail))
        .collect()
    }
}

impl Retries {
    /// When to try again after so many attempts: the pause doubles, and half of it is chance, so that what failed
    /// together does not come back together.
    pub fn again(&self, attempts: u32, now: Timestamp, rng: &mut impl Rng) -> Timestamp {
        let doubled = self
            .pause
            .saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let pause = doubled.min(self.longest);
        now + pause.mul_f64(rng.random_range(0.5..=1.0))
    }
}
