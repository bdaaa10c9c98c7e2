//! Parquet files hold what the tables hold.
#![cfg(feature = "parquet")]

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::RowAccessor,
};

use super::*;

/// The rows of a file, each as text.
fn rows(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().to_string()).collect()
}

#[test]
fn every_row_is_exported_with_its_types() {
    let out = tempfile::tempdir().unwrap();
    let to = out.path().to_str().unwrap();
    let folder = golden::folder("small");
    let output = run(&folder, &["export", ".", "--parquet", "--out", to]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (name, number) in [
        ("performance_samples", 600),
        ("health_status", 60),
        ("capabilities", 2),
        ("application_logs", 2),
        ("sample_summaries", 2),
        ("scaling_decisions", 1),
        ("vertices", 2),
        // One of five rows has two instances.
        ("mapping_to_instance_id", 6),
    ] {
        let path = out.path().join(format!("{name}.parquet"));
        assert_eq!(rows(&path).len(), number, "{name}");
    }
    let path = out.path().join("sample_summaries.parquet");
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
    assert_eq!(row.get_string(1).unwrap(), COPY);
    assert_eq!(row.get_long(2).unwrap(), 10);
    assert!((row.get_double(3).unwrap() - 0.05).abs() < 1e-12);
    let vertices = rows(&out.path().join("vertices.parquet"));
    assert!(
        vertices[1].contains("name: \"keep, at once\""),
        "{}",
        vertices[1]
    );
    // Files that are there are not replaced.
    let output = run(&folder, &["export", ".", "--parquet", "--out", to]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("could not create"));
}

#[test]
fn another_header_begins_another_file_and_additional_columns_stay() {
    let out = tempfile::tempdir().unwrap();
    let to = out.path().to_str().unwrap();
    let folder = golden::folder("broken");
    let output = run(&folder, &["export", ".", "--parquet", "--out", to]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("9 faults"), "{}", stderr(&output));
    let first = rows(&out.path().join("run1-performance_samples.parquet"));
    assert_eq!(first.len(), 6);
    assert!(first[0].contains("exp: \"a\""), "{}", first[0]);
    let second = rows(&out.path().join("run1-performance_samples-2.parquet"));
    assert_eq!(second.len(), 1);
    assert!(!second[0].contains("exp"), "{}", second[0]);
}
