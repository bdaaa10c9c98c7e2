//! `http-ingress`: requests to the node's ingress URL become calls or casts on `new_request`.
//!
//! All instances of a node share one listener ([`Listener`]); [`routes`] says who takes what.

mod listener;
pub mod routes;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task,
};

use edgeless_dataflow::{
    Action, Answer, CallRef, Control, Factory, Interests, Operator, Outbox, Port, Progress,
    Propagation, SpawnContext,
};
use edgeless_types::{
    PhysicalId,
    message::{Message, MessageKind},
    resource::{Configurations, http_ingress::Settings},
};

pub use self::listener::{Listener, MAX_CONNECTIONS};
use self::routes::Routes;

/// Who takes which requests, shared between listener and instances.
pub type SharedRoutes = Arc<RwLock<Routes<Instance>>>;

/// What the listener needs of an instance.
#[derive(Debug)]
pub struct Instance {
    settings: Settings,
    port: Port,
    in_flight: AtomicUsize,
    /// Whether it turns requests away: nothing more may be sent, or the node is about to end.
    closed: Arc<AtomicBool>,
}

/// Prepares an instance on the listener.
///
/// # Errors
/// A setting is wrong; in words. That another instance takes the same requests shows when the
/// factory is called.
pub fn prepare(routes: SharedRoutes, configurations: &Configurations) -> Result<Factory, String> {
    let settings = Settings::read(configurations).map_err(|problem| problem.to_string())?;
    Ok(Box::new(move |context: SpawnContext| {
        let id = context.me.physical_id;
        let closed = Arc::<AtomicBool>::default();
        let instance = Instance {
            settings: settings.clone(),
            port: context.port,
            in_flight: AtomicUsize::new(0),
            closed: Arc::clone(&closed),
        };
        let added = routes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(id, settings, instance);
        added.map_err(|conflict| conflict.to_string())?;
        Ok(Box::new(Ingress { id, routes, closed }))
    }))
}

/// Holds the place of an instance among the routes; takes no messages.
struct Ingress {
    id: PhysicalId,
    routes: SharedRoutes,
    closed: Arc<AtomicBool>,
}

impl Drop for Ingress {
    fn drop(&mut self) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.remove(self.id);
    }
}

impl Operator for Ingress {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        if message.kind == MessageKind::Call {
            let refusal = Answer::Error("http-ingress takes no calls".to_owned());
            out.answer(CallRef::of(&message), refusal);
        }
        out.push(Action::Fault("http-ingress takes no messages".to_owned()));
        Progress::Done
    }

    fn interests(&self) -> Interests {
        Interests::BUDGET.and(Interests::SHUTDOWN)
    }

    /// Without a budget, requests are turned away at once instead of waiting; a budget with bounds is
    /// kept by the port.
    fn on_signal(&mut self, signal: Control, _: &mut Outbox) -> Propagation {
        match signal {
            Control::Budget(budget) => {
                self.closed.store(budget.is_nothing(), Ordering::Relaxed);
                match budget.is_nothing() {
                    true => Propagation::Stop,
                    false => Propagation::Pass,
                }
            }
            Control::Shutdown => {
                self.closed.store(true, Ordering::Relaxed);
                Propagation::Stop
            }
            _ => Propagation::Pass,
        }
    }
}
