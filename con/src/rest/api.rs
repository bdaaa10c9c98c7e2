//! What the handlers ask: each takes the part it needs.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio_util::sync::CancellationToken;

use crate::{
    controller::Controller,
    orders::{Clients, Deployer, Orders},
};

/// All parts; cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Workflows.
    pub con: Controller,
    /// Orders.
    pub orders: Orders,
    /// Services.
    pub services: Deployer,
    /// Clients of orders.
    pub clients: Clients,
    /// Ends what lasts.
    pub shutdown: CancellationToken,
}

impl FromRef<Arc<Api>> for Controller {
    fn from_ref(api: &Arc<Api>) -> Self {
        api.con.clone()
    }
}

impl FromRef<Arc<Api>> for Orders {
    fn from_ref(api: &Arc<Api>) -> Self {
        api.orders.clone()
    }
}

impl FromRef<Arc<Api>> for Deployer {
    fn from_ref(api: &Arc<Api>) -> Self {
        api.services.clone()
    }
}

impl FromRef<Arc<Api>> for Clients {
    fn from_ref(api: &Arc<Api>) -> Self {
        api.clients.clone()
    }
}
