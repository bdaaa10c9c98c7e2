//! The contracts of clients, as they are kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use edgeless_orders::{contract::Contract, tasks::is_service_name};
use serde::{Deserialize, Serialize};

use super::Orders;
use crate::{
    problem::{Fault, Refusal},
    store::{Store, Write},
};

/// A client as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClientView {
    /// Its name.
    pub name: String,
    /// Its contract.
    #[schema(value_type = Object)]
    pub contract: Contract,
    /// Orders that have not come to their end.
    pub active_orders: u64,
    /// The file that defines it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Keeps contracts; cheap to clone.
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    orders: Orders,
    store: Store,
    contracts: Mutex<BTreeMap<String, Contract>>,
    /// Which file defines a client; that changes with a start only.
    files: BTreeMap<String, String>,
    changing: tokio::sync::Mutex<()>,
}

impl Clients {
    /// The contracts that hold, those that were kept and those of files; which file defines which client.
    pub fn new(
        orders: Orders,
        store: Store,
        contracts: Vec<(String, Contract)>,
        files: BTreeMap<String, String>,
    ) -> Self {
        Self(Arc::new(Inner {
            orders,
            store,
            contracts: Mutex::new(contracts.into_iter().collect()),
            files,
            changing: tokio::sync::Mutex::new(()),
        }))
    }

    /// All clients.
    pub async fn list(&self) -> Vec<ClientView> {
        let active = self.active().await;
        let contracts = self.contracts();
        let view = |(name, contract): (&String, &Contract)| self.view(name, contract, &active);
        contracts.iter().map(view).collect()
    }

    /// One client.
    ///
    /// # Errors
    /// There is none.
    pub async fn inspect(&self, name: &str) -> Result<ClientView, Refusal> {
        let active = self.active().await;
        let contracts = self.contracts();
        let contract = contracts.get(name).ok_or_else(|| unknown(name))?;
        Ok(self.view(name, contract, &active))
    }

    /// Defines a client or changes its contract, for orders that come from now on; whether it is new.
    ///
    /// # Errors
    /// The contract is wrong or cannot be kept, or a file defines the client.
    pub async fn put(&self, name: &str, contract: Contract) -> Result<(ClientView, bool), Refusal> {
        let mut faults = contract.check().err().unwrap_or_default();
        if !is_service_name(name) {
            let detail = "the name must be 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first";
            faults.push(Fault::new("", detail));
        }
        if !faults.is_empty() {
            return Err(Refusal::Invalid { faults });
        }
        self.is_of_no_file(name)?;
        let _changing = self.0.changing.lock().await;
        let kept = Write::Client(name.to_owned(), Some(Box::new(contract.clone())));
        self.write(kept).await?;
        let before = self.contracts().insert(name.to_owned(), contract.clone());
        self.0
            .orders
            .set_client(name.into(), Some(Arc::new(contract)))
            .await;
        Ok((self.inspect(name).await?, before.is_none()))
    }

    /// Forgets a client. Its active orders go on.
    ///
    /// # Errors
    /// There is none, a file defines it, or it cannot be kept.
    pub async fn delete(&self, name: &str) -> Result<(), Refusal> {
        self.is_of_no_file(name)?;
        let _changing = self.0.changing.lock().await;
        if !self.contracts().contains_key(name) {
            return Err(unknown(name));
        }
        self.write(Write::Client(name.to_owned(), None)).await?;
        self.contracts().remove(name);
        self.0.orders.set_client(name.into(), None).await;
        Ok(())
    }

    fn is_of_no_file(&self, name: &str) -> Result<(), Refusal> {
        let Some(file) = self.0.files.get(name) else {
            return Ok(());
        };
        Err(Refusal::Conflict(format!(
            "the client `{name}` is defined in `{file}`; change it there and start ε-CON anew"
        )))
    }

    fn view(
        &self,
        name: &str,
        contract: &Contract,
        active: &BTreeMap<Arc<str>, u64>,
    ) -> ClientView {
        ClientView {
            name: name.to_owned(),
            contract: contract.clone(),
            active_orders: active.get(name).copied().unwrap_or(0),
            file: self.0.files.get(name).cloned(),
        }
    }

    async fn write(&self, write: Write) -> Result<(), Refusal> {
        let written = self.0.store.write(vec![write]).await;
        written.map_err(|error| Refusal::Store(error.to_string()))
    }

    async fn active(&self) -> BTreeMap<Arc<str>, u64> {
        let figures = self.0.orders.figures().await;
        figures.map(|figures| figures.clients).unwrap_or_default()
    }

    fn contracts(&self) -> MutexGuard<'_, BTreeMap<String, Contract>> {
        self.0
            .contracts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::Unknown {
        what: "client",
        id: name.to_owned(),
    }
}
