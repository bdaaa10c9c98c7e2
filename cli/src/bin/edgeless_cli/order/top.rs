//! `edgeless_cli order top`: what is active, and what waits for which service.

use std::time::Duration;

use crate::{
    client::Client,
    failure::Failure,
    output::{Output, Style, or_dash, span, table},
    view::{Figures, ServiceFigures},
};

/// How often a terminal is shown it.
const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(once: bool, client: &Client, output: &Output) -> Result<(), Failure> {
    let is_live = output.is_for_people() && !once;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = client.get(&["orders", "figures"]).await?;
        let figures: Figures = client.view(&answer)?;
        if !is_live {
            return output.answer(&answer, |style| tell(&figures, style));
        }
        let goes_on = output.line(&(), |style| on_screen(&tell(&figures, style)))?;
        if !goes_on {
            return Ok(());
        }
    }
}

/// Writes over what a screen shows, without a moment in which it is empty.
fn on_screen(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}\x1b[K\n"));
    format!("\x1b[H{}\x1b[J", lines.collect::<String>())
}

fn tell(figures: &Figures, style: Style) -> String {
    let rows = figures.services.iter().map(|(name, service)| {
        let name = match service.paused {
            true => format!("{name} (paused)"),
            false => name.clone(),
        };
        row(name, service)
    });
    let header = [
        "SERVICE",
        "TO DO",
        "WAITING",
        "IN FLIGHT",
        "OLDEST",
        "IN/S",
        "OUT/S",
        "TOOK",
        "DRAIN",
    ];
    let table = table(style, header, rows, "no service");
    if style != Style::Terminal {
        return table;
    }
    let Figures {
        active_orders,
        active_tasks,
        tasks_to_do,
        accepted,
        ended,
        came_per_second,
        ended_per_second,
        clients,
        services_running,
        services_asleep,
        services_off,
        services_paused,
        copies,
        ..
    } = figures;
    let mut clients: Vec<_> = clients.iter().collect();
    clients.sort_by_key(|&(_, &active)| std::cmp::Reverse(active));
    let shown = clients.iter().take(8);
    let mut shown: Vec<String> = shown
        .map(|(name, active)| format!("{name} ({active})"))
        .collect();
    if clients.len() > shown.len() {
        shown.push(format!("{} more", clients.len() - shown.len()));
    }
    let clients = match shown.is_empty() {
        true => String::new(),
        false => format!("of {}\n", shown.join(", ")),
    };
    format!(
        "{active_orders} active orders, {tasks_to_do} tasks to do, {active_tasks} in flight\n\
         {came_per_second:.1} orders/s in, {ended_per_second:.1} out; {accepted} in and {ended} out since the start\n\
         services: {services_running} run, {services_asleep} asleep, {services_off} off, {services_paused} paused; {copies} copies\n\
         {clients}\n{table}"
    )
}

fn row(name: String, service: &ServiceFigures) -> [String; 9] {
    let oldest = (service.waiting > 0).then(|| span(service.oldest_waiting_s));
    let took = (service.done > 0).then(|| span(service.took_ms / 1e3));
    let drain = service.drain_s.filter(|_| service.tasks_to_do > 0);
    [
        name,
        service.tasks_to_do.to_string(),
        service.waiting.to_string(),
        service.in_flight.to_string(),
        or_dash(oldest.as_deref()),
        format!("{:.1}", service.came_per_second),
        format!("{:.1}", service.done_per_second),
        or_dash(took.as_deref()),
        or_dash(drain.map(span).as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_screen_is_written_over_line_by_line() {
        assert_eq!(on_screen("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn services_are_shown_with_what_waits_for_them() {
        let service = json!({
            "tasks_to_do": 30, "waiting": 20, "in_flight": 8, "oldest_waiting_s": 1.25,
            "came_per_second": 10.0, "done_per_second": 6.0, "done": 600, "took_ms": 0.84,
            "drain_s": 5.0, "paused": true,
        });
        let clients: serde_json::Map<String, Value> =
            (0..10).map(|n| (format!("c{n}"), json!(n))).collect();
        let figures = json!({
            "active_orders": 25, "active_tasks": 8, "tasks_to_do": 30, "accepted": 625,
            "ended": 600, "came_per_second": 10.0, "ended_per_second": 6.25, "clients": clients,
            "services_running": 3, "services_asleep": 2, "services_off": 1, "copies": 5,
            "services": {"A": service, "B": {}},
        });
        let figures: Figures = serde_json::from_value(figures).unwrap();
        assert_eq!(
            tell(&figures, Style::Pipe),
            "A (paused)\t30\t20\t8\t1.2 s\t10.0\t6.0\t0.8 ms\t5.0 s\n\
             B\t0\t0\t0\t-\t0.0\t0.0\t-\t-\n"
        );
        let shown = tell(&figures, Style::Terminal);
        for line in [
            "25 active orders, 30 tasks to do, 8 in flight",
            "services: 3 run, 2 asleep, 1 off, 0 paused; 5 copies",
            "10.0 orders/s in, 6.2 out; 625 in and 600 out since the start",
            "of c9 (9), c8 (8), c7 (7), c6 (6), c5 (5), c4 (4), c3 (3), c2 (2), 2 more",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{shown}");
        }
    }
}
