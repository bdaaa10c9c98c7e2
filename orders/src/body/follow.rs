//! What follows from a change: the next stage, the join of a group, what is taken back, the end.

use edgeless_types::{OrderId, Timestamp};

use super::{Body, Child, End, Step};
use crate::{
    json::Json,
    message,
    record::{Done, EndCode, Ended, Joined, Missed, Spawned, UNDO, id_of, kept},
};

impl Body {
    /// Begins the next stage that has something to do; without one the order is complete.
    pub(super) fn begin(&mut self, at: Timestamp) {
        self.begun = self.steps.len();
        while let Some(stage) = self.list.stages().get(self.stage) {
            for position in stage.first..stage.first + stage.len {
                let task = self.list.task(position);
                if task
                    .when
                    .as_ref()
                    .is_some_and(|when| !when.holds(&self.value))
                {
                    continue;
                }
                let input = match &task.from {
                    None => self.value.clone(),
                    Some(from) => from.of(&self.value).unwrap_or_else(Json::null),
                };
                self.steps.push(Step::new(u32::from(position), input, at));
            }
            if self.steps.len() > self.begun {
                return;
            }
            self.stage += 1;
        }
        self.end = Some(End {
            code: EndCode::Completed,
            at: Some(at),
            reason: String::new(),
        });
    }

    pub(super) fn on_done(&mut self, at: Timestamp, done: Done) {
        if self.is_ended() {
            return;
        }
        let Some(step) = self.step_mut(done.position) else {
            return;
        };
        if step.done.is_some() {
            return;
        }
        step.done = Some((at, done));
        self.go_on(at);
    }

    pub(super) fn on_missed(&mut self, at: Timestamp, missed: Missed) {
        if self.is_ended() {
            return;
        }
        if let Some(step) = self.step_mut(missed.position)
            && step.done.is_none()
        {
            step.misses.push((at, missed));
        }
        if self.is_undoing() {
            self.go_on(at);
        }
    }

    /// Goes on when nothing of this stage is left.
    fn go_on(&mut self, at: Timestamp) {
        if self.is_undoing() {
            let under_way = self
                .current()
                .iter()
                .any(|step| step.done.is_none() && !step.is_given_up());
            if !under_way {
                self.undo(at);
            }
            return;
        }
        if !self.current().iter().all(|step| step.done.is_some()) {
            return;
        }
        let is_group = self.list.stages()[self.stage].group;
        self.value = match (is_group, self.current()) {
            (false, [only]) => only.result(),
            (_, steps) => {
                let results: Vec<Json> = steps.iter().map(Step::result).collect();
                let tasks = steps.iter().map(|step| self.task(step.position));
                message::join(tasks.zip(&results))
            }
        };
        self.stage += 1;
        self.begin(at);
    }

    pub(super) fn on_ended(&mut self, at: Timestamp, ended: Ended) {
        if self.end.is_some() {
            return;
        }
        let undoing = ended.undoing;
        self.end = Some(End {
            code: ended.end(),
            at: (!undoing).then_some(at),
            reason: ended.reason,
        });
        if undoing {
            self.undo(at);
        }
    }

    /// The last task that is done and not yet taken back, though it should be.
    pub(super) fn next_undo(&self) -> Option<(u32, Json)> {
        let before = |position: u32| {
            self.steps
                .iter()
                .any(|step| step.position == position | UNDO)
        };
        let mut done = self
            .steps
            .iter()
            .rev()
            .filter(|step| step.position & UNDO == 0);
        let step = done.find(|step| {
            step.done.is_some() && self.task(step.position).undo.is_some() && !before(step.position)
        })?;
        let mut text = br#"{"input":"#.to_vec();
        text.extend_from_slice(step.input.as_bytes());
        text.extend_from_slice(br#","result":"#);
        text.extend_from_slice(step.result().as_bytes());
        text.push(b'}');
        Some((step.position, Json::written(text)))
    }

    fn undo(&mut self, at: Timestamp) {
        self.begun = self.steps.len();
        if let Some((position, input)) = self.next_undo() {
            self.steps.push(Step::new(position | UNDO, input, at));
            return;
        }
        let kept: Vec<&str> = self
            .steps
            .iter()
            .filter(|step| step.position & UNDO != 0 && step.is_given_up())
            .map(|step| &*self.task(step.position).key)
            .collect();
        let not_taken_back =
            (!kept.is_empty()).then(|| format!("; not taken back: {}", kept.join(", ")));
        if let Some(end) = &mut self.end {
            end.at = Some(at);
            end.reason.push_str(&not_taken_back.unwrap_or_default());
        }
    }

    pub(super) fn on_spawned(&mut self, at: Timestamp, spawned: Spawned) {
        let Some(done) = spawned.done else { return };
        if self.end.is_some() {
            return;
        }
        if let Some(step) = self.step_mut(done.position)
            && step.is_open()
        {
            let ids = spawned.orders.iter().filter_map(|bytes| id_of(bytes));
            step.children = ids.map(|id| Child { id, end: None }).collect();
            step.spawned = Some((at, done));
        }
    }

    pub(super) fn on_joined(&mut self, at: Timestamp, joined: &Joined) {
        let order = id_of(&joined.order);
        let (code, result) = (joined.end(), &joined.result);
        let result = (!result.is_empty()).then(|| kept(result));
        if self.end.is_some() {
            return;
        }
        let step = self.step_mut(joined.position);
        let Some(step) = step.filter(|step| step.is_waiting()) else {
            return;
        };
        let child = step
            .children
            .iter_mut()
            .find(|child| Some(child.id) == order);
        if let Some(child) = child
            && child.end.is_none()
        {
            child.end = Some((code, result));
        }
        let all = step.children.iter().all(|child| child.end.is_some());
        let (true, Some((_, done)), None) = (all, step.spawned.clone(), &step.done) else {
            return;
        };
        let result = with_children(&done, &step.children);
        self.on_done(at, Done { result, ..done });
    }
}

/// The result of a task with those of the orders it gave rise to.
fn with_children(done: &Done, children: &[Child]) -> bytes::Bytes {
    #[derive(serde::Serialize)]
    struct Of<'a> {
        id: OrderId,
        state: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a Json>,
    }
    #[derive(serde::Serialize)]
    struct All<'a> {
        result: Json,
        orders: Vec<Of<'a>>,
    }
    let of = |child: &'_ Child| -> Option<(OrderId, EndCode, Option<Json>)> {
        let (code, result) = child.end.clone()?;
        Some((child.id, code, result))
    };
    let ends: Vec<_> = children.iter().filter_map(of).collect();
    let orders = ends.iter().map(|(id, code, result)| Of {
        id: *id,
        state: code.name(),
        result: result.as_ref(),
    });
    let all = All {
        result: kept(&done.result),
        orders: orders.collect(),
    };
    let text = serde_json::to_vec(&all).expect("values that were checked are written");
    text.into()
}
