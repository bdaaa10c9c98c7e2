//! Two hundred contracts as in the Azure Functions study.
//!
//! Source of the parameters: Shahrad et al., "Serverless in the Wild" (ATC 2020): the daily rate per
//! application is lognormal over eight orders of magnitude, execution times are lognormal with a mean of
//! the logarithm of -0.38 and a sigma of 2.36, about a fifth of the applications are timers, two fifths
//! look like Poisson arrivals, and the others come in bursts.

use rand::{Rng, rngs::StdRng};
use rand_distr::{Distribution, Geometric, LogNormal, Normal};

use super::{Arrival, Contract, Function, Handled, Trace, patterns};

const CONTRACTS: usize = 200;
/// Orders a day beyond which a contract is cut: one host replays it.
const MOST_PER_DAY: f64 = 1e6;

pub(super) fn azure(rng: &mut StdRng, lasts: f64) -> Trace {
    let mut trace = Trace {
        functions: Vec::new(),
        contracts: Vec::new(),
        arrivals: Vec::new(),
        lasts,
        handled: Handled::default(),
    };
    for number in 0..CONTRACTS {
        let rate = per_day(rng) / 86_400.0;
        let name = format!("c{number:03}");
        let chain = chain(rng, &name, rate, &mut trace.functions);
        let times = times(rng, rate, lasts);
        let orders = times.into_iter().map(|at| Arrival {
            at,
            contract: number,
        });
        trace.arrivals.extend(orders);
        trace.contracts.push(Contract { name, chain });
    }
    trace.arrivals.sort_by(|a, b| a.at.total_cmp(&b.at));
    trace
}

fn per_day(rng: &mut StdRng) -> f64 {
    let exponent = Normal::new(1.2_f64, 1.9).map_or(1.2, |it| it.sample(rng));
    10.0_f64.powf(exponent.clamp(-1.0, 8.0)).min(MOST_PER_DAY)
}

/// One function and a geometric number of others, three on average. No function has a load above forty
/// copies: it would not fit its bound.
fn chain(rng: &mut StdRng, name: &str, rate: f64, functions: &mut Vec<Function>) -> Vec<usize> {
    let more = Geometric::new(1.0 / 3.0)
        .map_or(0, |it| it.sample(rng))
        .min(5);
    let service = LogNormal::new(-0.38_f64, 2.36);
    (0..=more)
        .map(|place| {
            let service = service.map_or(0.7, |it| it.sample(rng)).clamp(0.001, 60.0);
            functions.push(Function {
                name: format!("{name}.{place}"),
                service: service.min(40.0 / rate),
                variation: 0.5,
            });
            functions.len() - 1
        })
        .collect()
}

fn times(rng: &mut StdRng, rate: f64, lasts: f64) -> Vec<f64> {
    let kind = rng.random::<f64>();
    let gap = 1.0 / rate;
    if kind < 0.2 {
        // A timer, a little late each time.
        let first = rng.random::<f64>() * gap;
        let count = ((lasts - first) / gap).max(0.0) as u64;
        let late = (0.01 * gap).min(0.2);
        let times = (0..count).map(|tick| first + tick as f64 * gap + rng.random::<f64>() * late);
        return times.filter(|at| *at <= lasts).collect();
    }
    if kind < 0.6 {
        return patterns::thinned(rng, lasts, rate, |_| rate);
    }
    // The mean of a lognormal is exp(sigma²/2) times its median.
    let sigma = rng.random_range(1.5..2.5_f64);
    patterns::sparse(rng, lasts, gap * (-0.5 * sigma * sigma).exp(), sigma)
}
