//! What is written is read again, and everything that is wrong is refused with its line.

use proptest::prelude::*;

use super::{super::Window, *};

const RIGHT: &str = r#"version = 1

[[class]]
id = "resize"
gaps = [[0.5, 3], [4.0, 40]]

[class.service]
count = 100
mean = 0.2
variation = 0.5
p50 = 0.18
p95 = 0.4
p99 = 0.6

[class.start]
count = 8
mean = 2.5
variation = 0.1
p50 = 2.4
p95 = 2.9
p99 = 3.0

[class.bursts]
batch = 7
rate = 0.0
period = 300.0
jitter = 0.5

[class.day]
"08:00" = 1.5
"23:30" = 0.0

[[class]]
id = "other"
"#;

fn parse(text: &str) -> Result<Priors, String> {
    Priors::parse(text, Path::new("x.toml")).map_err(|error| error.to_string())
}

/// With `from` replaced by `to`, the error begins with that place and holds that text.
fn check(from: &str, to: &str, line: usize, says: &str) {
    assert!(RIGHT.contains(from), "{from}");
    let fault = parse(&RIGHT.replacen(from, to, 1)).unwrap_err();
    assert!(
        fault.starts_with(&format!("x.toml:{line}: ")),
        "{to}: {fault}"
    );
    assert!(fault.contains(says), "{to}: {fault}");
}

#[test]
fn a_right_file_is_read() {
    let priors = parse(RIGHT).unwrap();
    assert_eq!(priors.classes().len(), 2);
    let prior = priors.of("resize").unwrap();
    assert_eq!(prior.gaps, [(0.5, 3), (4.0, 40)]);
    assert_eq!(prior.day.get(&HalfHour::of(16)), Some(&1.5));
    assert_eq!(prior.start.unwrap().p99, 3.0);
    assert_eq!(prior.transfer, None);
    assert_eq!(priors.of("nobody"), None);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    check("version = 1", "version = 2", 1, "must be 1, not 2");
    check("version = 1", "", 1, "missing field `version`");
    check("[[class]]", "[[class", 3, "");
    check("id = \"resize\"", "id = 7", 4, "invalid type");
    check("id = \"resize\"", "id = \"\"", 4, "1 to 1024 bytes");
    check("id = \"resize\"", "id = \"other\"", 34, "second time");
    check(
        "id = \"resize\"",
        "name = \"resize\"",
        4,
        "unknown field `name`",
    );
    check("gaps = [[0.5, 3]", "gaps = [[nan, 3]", 5, "NaN");
    check("gaps = [[0.5, 3]", "gaps = [[5.0, 3]", 5, "have to rise");
    check("gaps = [[0.5, 3]", "gaps = [[0.5, 0]", 5, "at least 1");
    check("gaps = [[0.5, 3]", "gaps = [[-0.5, 3]", 5, "not -0.5");
    check("count = 100", "count = 0", 8, "at least 1");
    check("count = 100", "count = 1.5", 8, "invalid type");
    check("mean = 0.2", "mean = nan", 9, "NaN");
    check("mean = 0.2", "mean = inf", 9, "inf");
    check("mean = 0.2", "mean = -0.2", 9, "not -0.2");
    check("mean = 0.2", "mean = \"0.2\"", 9, "invalid type");
    check("mean = 0.2", "mean = 1e300", 9, "31536000");
    check("mean = 0.2", "", 7, "missing field `mean`");
    check(
        "variation = 0.5",
        "variaton = 0.5",
        10,
        "unknown field `variaton`",
    );
    check("p95 = 0.4", "p95 = 0.7", 7, "percentiles have to rise");
    check("p50 = 0.18", "p50 = 0.5", 7, "percentiles have to rise");
    check("period = 300.0", "period = -1.0", 26, "not -1");
    check("batch = 7", "batch = inf", 24, "inf");
    check("\"08:00\"", "\"08:10\"", 30, "no half hour");
    check("= 1.5", "= nan", 30, "NaN");
    check("[class.day]", "[class.week]", 29, "unknown field `week`");
    assert!(parse("").unwrap_err().contains("missing field `version`"));
    for (text, line) in [
        ("version = 1", 1),
        ("# nothing = 7\nversion = 1\n", 1),
        ("version = 1\nclass = []", 2),
    ] {
        let says = "key `class`: there is no class; a file has one `[[class]]` or more, as `edgeless_dataset fit` writes it";
        assert_eq!(parse(text).unwrap_err(), format!("x.toml:{line}: {says}"));
    }
}

#[test]
fn why_a_file_cannot_be_read_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    for (path, wanted) in [
        (
            folder.path().join("missing"),
            "`edgeless_dataset fit` writes it",
        ),
        (folder.path().to_owned(), "it is a folder"),
        (binary, "it is not text"),
    ] {
        let error = std::fs::read_to_string(path).unwrap_err();
        let advice = advice(&error);
        assert!(advice.contains(wanted), "{error}: {advice}");
    }
}

#[test]
fn a_prior_is_known_at_once_and_outweighed_by_what_comes() {
    let priors = parse(RIGHT).unwrap();
    let mut window = Window::seeded(priors.of("resize").unwrap());
    assert!((window.service().unwrap() - 0.2).abs() < 1e-6);
    assert!((window.service_variation() - 0.5).abs() < 1e-3);
    assert!((window.service_p95().unwrap() - 0.4).abs() < 1e-6);
    assert!((window.start_time().unwrap() - 2.5).abs() < 1e-6);
    let at = edgeless_types::Timestamp::from_nanos(1_700_006_400_000_000_000);
    assert_eq!(
        window.usual_rate(at),
        None,
        "the half hour beside it is not known"
    );
    for _ in 0..usize::from(WEIGHT) {
        window.executed(std::time::Duration::from_millis(400));
    }
    let half = window.service().unwrap();
    assert!(
        (half - 0.3).abs() < 1e-3,
        "as many of its own count as much: {half}"
    );
    // Of starts only eight were measured.
    (0..8).for_each(|_| window.started(std::time::Duration::from_millis(500)));
    assert!((window.start_time().unwrap() - 1.5).abs() < 1e-3);
}

#[test]
fn idle_times_and_regular_bursts_of_a_prior_are_believed() {
    let window = |gaps: &[(f64, u64)]| {
        Window::seeded(&Prior {
            gaps: gaps.to_vec(),
            bursts: Some(Bursts {
                batch: 7.0,
                rate: 0.0,
                period: Some(300.0),
                jitter: 0.5,
            }),
            ..Prior::default()
        })
    };
    let keep = window(&[(4.0, 1_000), (3_000.0, 1)]).gaps.keep(20.0, 60.0);
    assert!((4.0..8.0).contains(&keep), "{keep}");
    let keep = window(&[(4.0, 5)]).gaps.keep(20.0, 60.0);
    assert!((keep - 20.0).abs() < 1e-9, "five are too few: {keep}");
    let mut window = window(&[]);
    let now = edgeless_types::Timestamp::from_nanos(1_700_000_000_000_000_000);
    window.arrived(1, now);
    let next = window.bursts.next().unwrap();
    let until_next = next.from - now.as_secs_f64();
    assert!((290.0..300.0).contains(&until_next), "{until_next}");
}

fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 1e-9..1.0_f64, 1.0..31_536_000.0_f64]
}

fn times() -> impl Strategy<Value = Times> {
    let three = (seconds(), seconds(), seconds());
    (1..1_000_000_u64, seconds(), 0.0..100.0_f64, three).prop_map(|(count, mean, variation, p)| {
        let mut sorted = [p.0, p.1, p.2];
        sorted.sort_by(f64::total_cmp);
        let [p50, p95, p99] = sorted;
        Times {
            count,
            mean,
            variation,
            p50,
            p95,
            p99,
        }
    })
}

fn prior() -> impl Strategy<Value = Prior> {
    let times = || proptest::option::of(times());
    let gaps = proptest::collection::btree_map(0..60_usize, 1..1_000_000_u64, 0..10);
    let bursts = (
        0.0..1e6_f64,
        0.0..1e6_f64,
        proptest::option::of(seconds()),
        seconds(),
    );
    let day = proptest::collection::btree_map(0..48_u64, 0.0..1e6_f64, 0..48);
    let arrivals = (gaps, proptest::option::of(bursts), day);
    ("\\PC{1,20}", times(), times(), times(), arrivals).prop_map(
        |(id, service, transfer, start, (gaps, bursts, day))| Prior {
            id,
            gaps: gaps
                .into_iter()
                .map(|(bin, count)| (0.1 + bin as f64, count))
                .collect(),
            service,
            transfer,
            start,
            bursts: bursts.map(|(batch, rate, period, jitter)| Bursts {
                batch,
                rate,
                period,
                jitter,
            }),
            day: day
                .into_iter()
                .map(|(at, rate)| (HalfHour::of(at), rate))
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_seeds_only_finite_numbers(
        classes in proptest::collection::vec(prior(), 1..6),
    ) {
        let priors = Priors::new(classes);
        let text = priors.to_toml().unwrap();
        let read = parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(&priors), "{}", text);
        prop_assert_eq!(&read.unwrap().to_toml().unwrap(), &text, "the order is stable");
        for prior in priors.classes() {
            let window = Window::seeded(prior);
            let known = [window.service(), window.start_time(), window.transfer()];
            prop_assert!(known.into_iter().flatten().all(f64::is_finite));
            prop_assert!(window.service_variation().is_finite());
        }
    }
}
