//! The trace of recorded orders: functions and contracts in the order in which they come.

use std::collections::BTreeMap;

use edgeless_types::LogicalId;

use super::recorded::Order;
use crate::synth::{Arrival, Contract, Function, Handled, Trace};

/// Makes a trace of orders.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) functions: Vec<LogicalId>,
    contracts: BTreeMap<Vec<LogicalId>, usize>,
    chains: Vec<Vec<usize>>,
    arrivals: Vec<Arrival>,
    handled: Handled,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Builder {
    /// The next order, which arrives at that second.
    pub(super) fn add(&mut self, order: &Order, at: f64) {
        let contract = match self.contracts.get(&order.chain) {
            Some(&contract) => contract,
            None => self.contract(&order.chain),
        };
        // What follows an unknown time is drawn as well.
        let known = order.handled.iter().copied();
        self.handled.push(known.map_while(|it| it));
        self.arrivals.push(Arrival { at, contract });
    }

    fn contract(&mut self, chain: &[LogicalId]) -> usize {
        let place = |logical_id: &LogicalId| {
            let known = self.functions.iter().position(|it| it == logical_id);
            known.unwrap_or_else(|| {
                self.functions.push(*logical_id);
                self.functions.len() - 1
            })
        };
        self.chains.push(chain.iter().map(place).collect());
        let contract = self.chains.len() - 1;
        self.contracts.insert(chain.to_vec(), contract);
        contract
    }

    pub(super) fn trace(self, times: &BTreeMap<LogicalId, Times>, lasts: f64) -> Trace {
        let function = |id: &LogicalId| {
            let times = times.get(id).copied().unwrap_or_default();
            times.function(id.to_string())
        };
        let contracts = self.chains.into_iter().map(|chain| Contract {
            name: Vec::from_iter(chain.iter().map(|it| self.functions[*it].to_string())).join(","),
            chain,
        });
        Trace {
            contracts: contracts.collect(),
            functions: self.functions.iter().map(function).collect(),
            arrivals: self.arrivals,
            lasts,
            handled: self.handled,
        }
    }
}

impl Times {
    pub(super) fn add(&mut self, seconds: f64) {
        self.count += 1.0;
        self.sum += seconds;
        self.squares += seconds * seconds;
    }

    fn function(&self, name: String) -> Function {
        let mean = self.sum / self.count.max(1.0);
        let variance = (self.squares / self.count.max(1.0) - mean * mean).max(0.0);
        Function {
            name,
            service: mean.max(1e-6),
            variation: match mean > 0.0 {
                true => variance.sqrt() / mean,
                false => 0.0,
            },
        }
    }
}
