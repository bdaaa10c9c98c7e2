//! An order as the stages that it passes: START, each of its tasks, END. Pure.

use edgeless_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Step},
    record::UNDO,
    view::{OrderState, OutputView, StepState},
};

/// The stage in which an order is taken in; no service may be called so.
pub const START: &str = "START";
/// The stage in which the end of an order is told; no service may be called so.
pub const END: &str = "END";

/// What is wrong with the name of a service that is that of a stage.
pub fn reserved(name: &str) -> Option<String> {
    let is_reserved = name == START || name == END;
    is_reserved.then(|| {
        format!("`{name}` is a stage that every order passes, and no service; take another name")
    })
}

/// A stage of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// `START`, the name of a task such as `A` or `A#2`, or `END`.
    pub stage: String,
    /// How far it is. `START` is done; `END` is done when all outputs are told, and failed when one cannot be.
    pub state: StepState,
    /// When the order was accepted, the task was done, or the order ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Of `START`: who sent the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Of `END`: how the order ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<OrderState>,
    /// Of `END`: what became of telling it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputView>,
}

/// A task of an order, by its position.
#[derive(Clone, Copy, Debug)]
pub enum Passage<'a> {
    /// It was begun.
    Begun(&'a Step),
    /// It was left out: its condition did not hold.
    Skipped,
    /// Its turn has not come, or never will.
    NotBegun,
}

impl Body {
    /// How far each task of its list is, in the order of the list. What takes tasks back is not among them.
    pub fn passages(&self) -> Vec<(u16, Passage<'_>)> {
        let mut steps = self.steps.iter().filter(|step| step.position & UNDO == 0);
        let mut next = steps.next();
        let mut passages = Vec::with_capacity(self.list.len());
        for (number, stage) in self.list.stages().iter().enumerate() {
            for position in stage.first..stage.first + stage.len {
                // Stages begin one after the other, and their tasks by position.
                let step = next.filter(|step| step.position == u32::from(position));
                let passage = match step {
                    Some(step) => {
                        next = steps.next();
                        Passage::Begun(step)
                    }
                    None if number <= self.stage() => Passage::Skipped,
                    None => Passage::NotBegun,
                };
                passages.push((position, passage));
            }
        }
        passages
    }

    /// The stages of the order, from `START` to `END`.
    pub fn stages(&self) -> Vec<StageView> {
        let plain = |stage: &str, state, at| StageView {
            stage: stage.to_owned(),
            state,
            at,
            client: None,
            end: None,
            outputs: Vec::new(),
        };
        let start = StageView {
            client: Some(self.accepted.client.clone()),
            ..plain(START, StepState::Done, Some(self.at))
        };
        let tasks = self.passages().into_iter().map(|(position, passage)| {
            let (state, at) = match passage {
                Passage::Begun(step) => (step.state(), step.done.as_ref().map(|(at, _)| *at)),
                Passage::Skipped => (StepState::Skipped, None),
                Passage::NotBegun => (StepState::NotBegun, None),
            };
            plain(&self.list.task(position).key, state, at)
        });
        let ended = self.end.as_ref().and_then(|end| end.at);
        let outputs = self.output_views();
        let state = match ended {
            None => StepState::NotBegun,
            Some(_) if outputs.iter().any(|output| output.problem.is_some()) => StepState::Failed,
            Some(_) if outputs.iter().all(|output| output.delivered) => StepState::Done,
            Some(_) => StepState::Waiting,
        };
        let end = StageView {
            end: ended.map(|_| self.state()),
            outputs,
            ..plain(END, state, ended)
        };
        [start].into_iter().chain(tasks).chain([end]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edgeless_types::OrderId;

    use super::*;
    use crate::{
        json::Json,
        record::{Accepted, Change, Delivered, Done, What},
        tasks::TaskList,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    /// An order of A, then C if the result so far is above 100, then B; and the changes that follow.
    fn order(changes: &[(u64, What)]) -> Body {
        let tasks = r#"["A",{"task":"C","when":{"path":"","gt":100}},"B"]"#;
        let list = Arc::new(TaskList::parse(&Json::parse(tasks).unwrap()).unwrap());
        let accepted = Accepted {
            client: "lab".to_owned(),
            input: "5".into(),
            outputs: r#"[{"to":"file","name":"x"}]"#.into(),
            ..Accepted::default()
        };
        let id = OrderId::from_pair((1, 2));
        let mut body = Body::accept(id, at(1), Box::new(accepted), list);
        for (seconds, what) in changes {
            body.apply(Change::new(id, at(*seconds), what.clone()));
        }
        body
    }

    fn done(position: u32, result: &'static str) -> What {
        What::Done(Done {
            position,
            attempt: 1,
            result: result.into(),
            ..Done::default()
        })
    }

    fn told(body: &Body) -> Vec<(String, StepState, Option<Timestamp>)> {
        let stages = body.stages().into_iter();
        stages
            .map(|stage| (stage.stage, stage.state, stage.at))
            .collect()
    }

    fn stage(name: &str, state: StepState, seconds: u64) -> (String, StepState, Option<Timestamp>) {
        (name.to_owned(), state, (seconds > 0).then(|| at(seconds)))
    }

    #[test]
    fn an_order_passes_start_its_tasks_and_end() {
        use StepState::{Done, NotBegun, Skipped, Waiting};
        let mut changes = vec![];
        let expected = [
            stage("START", Done, 1),
            stage("A", Waiting, 0),
            stage("C", NotBegun, 0),
            stage("B", NotBegun, 0),
            stage("END", NotBegun, 0),
        ];
        assert_eq!(told(&order(&changes)), expected);
        changes.extend([(2, done(0, "7")), (3, done(2, "14"))]);
        let ended = order(&changes);
        let expected = [
            stage("START", Done, 1),
            stage("A", Done, 2),
            stage("C", Skipped, 0),
            stage("B", Done, 3),
            stage("END", Waiting, 3),
        ];
        assert_eq!(told(&ended), expected);
        let stages = ended.stages();
        assert_eq!(stages[0].client.as_deref(), Some("lab"));
        assert_eq!(stages[4].end, Some(OrderState::Completed));
        let trace = ended.view().trace;
        let states: Vec<_> = trace.iter().map(|step| (&*step.task, step.state)).collect();
        assert_eq!(states, [("A", Done), ("C", Skipped), ("B", Done)]);
        let delivered = |problem: &str| {
            let problem = problem.to_owned();
            let mut changes = changes.clone();
            changes.push((4, What::Delivered(Delivered { output: 0, problem })));
            order(&changes).stages().pop().unwrap()
        };
        assert_eq!(delivered("").state, Done);
        let failed = delivered("no such folder");
        assert_eq!(failed.state, StepState::Failed);
        assert!(failed.outputs[0].problem.is_some());
    }

    #[test]
    fn the_names_of_stages_are_reserved() {
        assert!(reserved("START").is_some() && reserved("END").is_some());
        assert_eq!(reserved("Start"), None);
    }
}
