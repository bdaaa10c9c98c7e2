//! Repairs: whatever a crash tears off, all whole rows stay, and nothing is lost.

use edgeless_dataset::{
    check::{Checked, check},
    files::{TableFile, find},
    progress::Progress,
    reader::Item,
};
use edgeless_types::Timestamp;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

fn only_file(folder: &Path) -> TableFile {
    find(folder).unwrap().remove(0)
}

fn repaired(folder: &Path) -> Checked {
    let file = only_file(folder);
    let mut checked = check(&file, NOW, &mut Progress::hidden(), |_| Ok(())).unwrap();
    checked.repair().unwrap();
    checked
}

/// The rows of a file, as text.
fn rows(folder: &Path) -> Vec<String> {
    let mut reader = only_file(folder).open(NOW).unwrap();
    let mut rows = Vec::new();
    while let Some(item) = reader.read().unwrap() {
        if let Item::Row(row) = item {
            rows.push(format!("{row:?}"));
        }
    }
    rows
}

/// Rows of a table, with values that are quoted or not, over several lines or not.
fn table() -> impl Strategy<Value = (&'static str, Vec<String>)> {
    let at = "1700000001.123456789";
    let value = prop_oneof![
        "[a-z]{0,5}",
        "[a-z\",\n]{0,12}".prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
    ];
    let log = value.prop_map(move |value| format!("{COPY},t,{value},{at}\n"));
    let sample = (0_u32..10_000_000).prop_map(move |micros| {
        let secs = f64::from(micros) / 1e6;
        format!("function_execution_time,{COPY},{secs},{at}\n")
    });
    let mapping = (0_usize..4).prop_map(move |pairs| {
        let pairs = format!(",{NODE},{COPY}").repeat(pairs);
        format!("{at},{FUNCTION}{pairs}\n")
    });
    let health = (0_u64..1_000_000).prop_map(move |free| {
        let health = edgeless_types::NodeHealth {
            mem_free: free,
            ..Default::default()
        };
        let json = serde_json::to_string(&health).unwrap().replace('"', "\"\"");
        format!("{at},{NODE},\"{json}\"\n")
    });
    let many = |row: BoxedStrategy<String>| proptest::collection::vec(row, 0..12);
    let named = |name, header: &'static str, row: BoxedStrategy<String>| {
        many(row).prop_map(move |mut rows| {
            rows.insert(0, header.to_owned());
            (name, rows)
        })
    };
    prop_oneof![
        named(
            "application_logs.csv",
            "identifier,target,value,timestamp\n",
            log.boxed()
        ),
        named(SAMPLES, SAMPLES_HEADER, sample.boxed()),
        named(
            "mapping_to_instance_id.csv",
            "timestamp,logical_id,node_id1,physical_id1,...\n",
            mapping.boxed()
        ),
        named(
            "health_status.csv",
            "timestamp,node_id,node_health_status\n",
            health.boxed()
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_is_cut_off_all_whole_rows_stay((name, lines) in table(), share in 0.0..=1.0_f64) {
        let text = lines.concat();
        let whole_folder = folder(&[(name, &text)]);
        let all = rows(whole_folder.path());
        prop_assert_eq!(all.len(), lines.len() - 1);
        let cut = (share * text.len() as f64).round() as usize;
        let folder = folder(&[(name, &text[..cut])]);
        let mut end = 0;
        let whole = lines.iter().take_while(|line| {
            end += line.len();
            end <= cut
        });
        let whole = whole.count().saturating_sub(1);
        repaired(folder.path());
        let left = rows(folder.path());
        // One more, if nothing but the end of its line was cut off.
        prop_assert!(left.len() == whole || left.len() == whole + 1);
        prop_assert_eq!(&left, &all[..left.len()]);
        // Whatever left the file is beside it.
        let now = fs::read_to_string(folder.path().join(name)).unwrap();
        let torn = fs::read_to_string(folder.path().join(format!("{name}.torn")));
        let torn = torn.map_or(String::new(), |torn| torn[..torn.len() - 1].to_owned());
        let together = now + &torn;
        prop_assert_eq!(together.trim_end(), text[..cut].trim_end());
        // Lines that have an end are never cut off, not even those of a torn row.
        prop_assert!(!torn.contains('\n'), "{}", torn);
        // There is nothing left to mend.
        let again = repaired(folder.path());
        prop_assert!(again.repair.is_none());
        let lines = text[..cut].lines().count() as u64;
        prop_assert!(again.faults <= lines.saturating_sub(whole as u64 + 1));
    }
}

proptest! {
    #[test]
    fn whatever_bytes_there_are_every_line_is_a_row_or_a_fault(
        pieces in proptest::collection::vec(prop_oneof![
            Just(b"\"".to_vec()), Just(b"\n".to_vec()), Just(b",".to_vec()),
            Just(SAMPLES_HEADER.as_bytes().to_vec()),
            Just(format!("function_execution_time,{COPY},1,1700000001.5\n").into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ], 0..40),
        table in 0..edgeless_tables::Table::ALL.len(),
    ) {
        let text = pieces.concat();
        let table = edgeless_tables::Table::ALL[table];
        let file = Path::new("file").into();
        let mut reader = edgeless_dataset::reader::Reader::new(file, table, &text[..], NOW);
        let mut items = 0;
        while reader.read().unwrap().is_some() {
            items += 1;
        }
        let lines = text.split(|&byte| byte == b'\n').count();
        prop_assert!(items <= 2 * lines + 1);
        prop_assert_eq!(items > 0 || reader.sections() == 1, !text.is_empty());
        prop_assert_eq!(reader.offset(), text.len() as u64);
    }
}

#[test]
fn a_repair_says_what_it_did_and_leaves_other_faults() {
    let row = format!("function_execution_time,{COPY},0.002,1700000001.000000000\n");
    let text = format!("{SAMPLES_HEADER}{row}wrong\n{row}function_ex");
    let folder = folder(&[(SAMPLES, &text)]);
    let output = run(folder.path(), &["check", ".", "--repair"]);
    let shown = stdout(&output);
    let said = format!("./{SAMPLES}: a torn tail of 11 bytes is now in ./{SAMPLES}.torn\n");
    assert!(shown.contains(&said), "{shown}");
    assert_eq!(
        output.status.code(),
        Some(1),
        "the other fault is still there"
    );
    let left = fs::read_to_string(folder.path().join(SAMPLES)).unwrap();
    assert_eq!(left, text.strip_suffix("function_ex").unwrap());
    fs::write(folder.path().join(SAMPLES), text.replace("wrong\n", "")).unwrap();
    let output = run(folder.path(), &["check", ".", "--repair"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let torn = fs::read_to_string(folder.path().join(format!("{SAMPLES}.torn")));
    assert_eq!(torn.unwrap(), "function_ex\nfunction_ex\n");
}

#[test]
fn a_file_that_grows_meanwhile_is_left_alone() {
    let folder = folder(&[(SAMPLES, &format!("{SAMPLES_HEADER}torn"))]);
    let file = only_file(folder.path());
    let mut checked = check(&file, NOW, &mut Progress::hidden(), |_| Ok(())).unwrap();
    fs::write(
        folder.path().join(SAMPLES),
        format!("{SAMPLES_HEADER}torn,more"),
    )
    .unwrap();
    let error = checked.repair().unwrap_err().to_string();
    assert!(error.contains("has changed meanwhile"), "{error}");
    let left = fs::read_to_string(folder.path().join(SAMPLES)).unwrap();
    assert_eq!(left, format!("{SAMPLES_HEADER}torn,more"));
}

#[test]
fn a_quote_near_the_end_that_is_not_closed_takes_no_whole_lines_along() {
    let header = "identifier,target,value,timestamp\n";
    let row = |value: &str| format!("{COPY},t,{value},1700000001.000000000\n");
    let open = format!("{COPY},t,\"open,1700000001.000000000\n");
    for (tail, kept) in [
        ("", ""),
        ("not a row\n", "not a row\n"),
        ("not a row\ntorn", "not a row\n"),
    ] {
        let text = format!("{header}{}{open}{tail}", row("a"));
        let folder = folder(&[("application_logs.csv", &text)]);
        let output = run(folder.path(), &["check", ".", "--repair"]);
        let shown = stdout(&output);
        let said = "./application_logs.csv:3: a quoted field does not end where it should\n";
        assert!(shown.contains(said), "{shown}");
        assert_eq!(output.status.code(), Some(1));
        let left = fs::read_to_string(folder.path().join("application_logs.csv")).unwrap();
        assert_eq!(left, format!("{header}{}{open}{kept}", row("a")));
    }
}
