//! Arrival times of one contract.

use rand::{Rng, rngs::StdRng};
use rand_distr::{Distribution, Exp, LogNormal, Pareto};

use super::Pattern;

/// When orders arrive, in seconds, in order.
pub(super) fn times(pattern: Pattern, rng: &mut StdRng, lasts: f64) -> Vec<f64> {
    match pattern {
        Pattern::Steady => thinned(rng, lasts, 10.0, |_| 10.0),
        Pattern::Step => {
            let rate = |at: f64| if at < lasts / 2.0 { 0.5 } else { 10.0 };
            thinned(rng, lasts, 10.0, rate)
        }
        Pattern::Diurnal => {
            let day = lasts.min(7_200.0);
            let sine = |at: f64| (std::f64::consts::TAU * at / day).cos();
            thinned(rng, lasts, 25.0, |at| 13.0 - 12.0 * sine(at))
        }
        Pattern::OnOff => on_off(rng, lasts),
        Pattern::Cron => cron(rng, lasts),
        Pattern::Sparse => sparse(rng, lasts, 60.0, 1.0),
        // A mix has more than one contract.
        Pattern::Azure => Vec::new(),
    }
}

/// Poisson arrivals with a changing rate below `most`, by thinning.
pub(super) fn thinned(
    rng: &mut StdRng,
    lasts: f64,
    most: f64,
    rate: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let (mut times, mut at) = (Vec::new(), 0.0_f64);
    let Ok(pause) = Exp::new(most) else {
        return times;
    };
    loop {
        at += pause.sample(rng);
        if at > lasts {
            return times;
        }
        if rng.random::<f64>() * most < rate(at) {
            times.push(at);
        }
    }
}

/// Twenty orders a second for half a minute on average, then silence: Pareto with a shape of 1.1 from ten
/// seconds, cut at ten minutes.
fn on_off(rng: &mut StdRng, lasts: f64) -> Vec<f64> {
    let (mut times, mut at) = (Vec::new(), 0.0_f64);
    let (Ok(on), Ok(off), Ok(pause)) =
        (Exp::new(1.0 / 30.0), Pareto::new(10.0, 1.1), Exp::new(20.0))
    else {
        return times;
    };
    loop {
        let end = at + on.sample(rng);
        while at < end.min(lasts) {
            times.push(at);
            at += pause.sample(rng);
        }
        at = at.max(end) + f64::min(off.sample(rng), 600.0);
        if at >= lasts {
            return times;
        }
    }
}

/// Thirty orders within a tenth of a second every five minutes, give or take half a second.
fn cron(rng: &mut StdRng, lasts: f64) -> Vec<f64> {
    let (mut times, mut batch) = (Vec::new(), 30.0);
    while batch < lasts - 1.0 {
        let begin = batch + rng.random_range(-0.5..0.5);
        times.extend((0..30).map(|_| begin + rng.random_range(0.0..0.1)));
        batch += 300.0;
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Lognormal gaps with this median in seconds and this sigma.
pub(super) fn sparse(rng: &mut StdRng, lasts: f64, median: f64, sigma: f64) -> Vec<f64> {
    let (mut times, mut at) = (Vec::new(), 0.0_f64);
    let Ok(gap) = LogNormal::new(median.ln(), sigma) else {
        return times;
    };
    loop {
        at += gap.sample(rng);
        if at > lasts {
            return times;
        }
        times.push(at);
    }
}
