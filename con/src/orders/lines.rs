//! The ways to services: over each go tasks, and outcomes come back.

use std::sync::{Arc, atomic::Ordering};

use edgeless_orders::book::{Event, Handout, LineId, Outcome, Ticket};
use tokio::sync::mpsc;

use super::{
    Orders, Post,
    bytes::{Out, Tasks},
};

/// Messages to a line that nobody has taken: each has a task at least, and no line has so many.
const MESSAGES: usize = 4096;

/// What goes over a line at once.
#[derive(Debug, Default)]
pub struct ToLine {
    /// Tasks.
    pub tasks: Vec<Handout>,
    /// Tasks that nobody wants any more.
    pub cancelled: Vec<Ticket>,
}

/// A line that is open, until it is dropped.
pub struct Line {
    orders: Orders,
    id: LineId,
    out: Arc<Out>,
}

impl Orders {
    /// Opens a line to a service with so many copies behind it (none: that is never said): what goes over it comes out of
    /// the second.
    pub async fn open_line(
        &self,
        service: Arc<str>,
        source: Arc<str>,
        copies: Option<u32>,
    ) -> (Line, mpsc::Receiver<ToLine>) {
        let id = LineId(self.0.lines.fetch_add(1, Ordering::Relaxed));
        let (tasks, taken) = mpsc::channel(MESSAGES);
        self.post(Post::Line {
            line: id,
            service,
            source,
            copies,
            tasks,
        })
        .await;
        let (orders, out) = (self.clone(), Arc::default());
        (Line { orders, id, out }, taken)
    }
}

impl Line {
    /// What comes out of the line, with bytes for tasks that want them; what they return is kept by [`Line::outcomes`].
    pub fn with_bytes(&self, taken: mpsc::Receiver<ToLine>) -> Tasks {
        Tasks::new(self.orders.clone(), self.id, taken, Arc::clone(&self.out))
    }

    /// Tasks have come back.
    pub async fn outcomes(&self, mut outcomes: Vec<(Ticket, Outcome)>) {
        self.out.settle(self.orders.blobs(), &mut outcomes).await;
        self.orders.post(Post::Outcomes(self.id, outcomes)).await;
    }

    /// Whether it takes tasks.
    pub async fn open(&self, open: bool) {
        let line = self.id;
        self.orders
            .post(Post::Event(Event::Open { line, open }))
            .await;
    }

    /// So many copies are behind it.
    pub async fn copies(&self, copies: u32) {
        let line = self.id;
        self.orders
            .post(Post::Event(Event::Copies { line, copies }))
            .await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (orders, line) = (self.orders.clone(), self.id);
        // Without a runtime everything ends anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                orders.post(Post::Event(Event::LineClosed { line })).await;
            });
        }
    }
}
