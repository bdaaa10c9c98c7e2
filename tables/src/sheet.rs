//! One CSV file: whole rows on disk, and rows in memory that wait for it.
//!
//! What a disk refuses in the middle of a row is cut off again, so that the file ends with a whole row at
//! any time; its rows wait, bounded, until there is room.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// Bytes after which rows go to the disk without being asked for.
const FULL: usize = 256 << 10;
/// Bytes of rows that wait for a disk that refuses them; further ones are given up, and counted.
const BOUND: usize = 16 << 20;

/// One CSV file.
pub(crate) struct Sheet {
    file: File,
    /// The length of the file up to the end of the last whole row.
    whole: u64,
    rows: csv::Writer<Vec<u8>>,
    /// Whether there are any in there.
    has_rows: bool,
    /// Rows as bytes, at most [`BOUND`] and one more row.
    waiting: Vec<u8>,
    refusing: bool,
    rows_lost: u64,
}

fn writer(buffer: Vec<u8>) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().flexible(true).from_writer(buffer)
}

impl Sheet {
    /// Opens a file, to be continued or begun anew; answers the columns that it has, where it is
    /// continued. A disk without room is no error: the first rows wait as all others do.
    ///
    /// # Errors
    /// The file or its folder cannot be opened or read.
    pub(crate) fn open(
        path: &Path,
        columns: &[&str],
        append: bool,
    ) -> io::Result<(Self, Option<Vec<String>>)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true);
        let mut file = options.truncate(!append).open(path)?;
        let whole = end_of_last_line(&mut file)?;
        let mut sheet = Self {
            file,
            whole,
            rows: writer(Vec::new()),
            has_rows: false,
            waiting: Vec::new(),
            refusing: false,
            rows_lost: 0,
        };
        sheet.cut()?;
        if whole == 0 {
            sheet.row(columns.iter().copied())?;
            // Said again by every flush.
            if let Err(error) = sheet.flush() {
                sheet.refusing = true;
                return match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Ok((sheet, None)),
                    _ => Err(error),
                };
            }
            return Ok((sheet, None));
        }
        sheet.file.seek(SeekFrom::Start(0))?;
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(&sheet.file);
        let found = reader.headers().map_err(io::Error::other)?;
        let found = found.iter().map(str::to_owned).collect();
        Ok((sheet, Some(found)))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// None but what the memory says; a disk that refuses rows says so in [`Sheet::flush`].
    pub(crate) fn row<'a>(&mut self, fields: impl Iterator<Item = &'a str>) -> io::Result<()> {
        if self.waiting.len() >= BOUND {
            self.rows_lost += 1;
            return Ok(());
        }
        self.rows.write_record(fields).map_err(io::Error::other)?;
        self.has_rows = true;
        if self.rows.get_ref().len() >= FULL {
            self.collect()?;
            if !self.refusing {
                self.refusing = self.store().is_err();
            }
        }
        Ok(())
    }

    /// Adds a row that is written out already, with the end of its line.
    ///
    /// # Errors
    /// As of [`Sheet::row`].
    pub(crate) fn plain_row(&mut self, row: &[u8]) -> io::Result<()> {
        if self.waiting.len() >= BOUND {
            self.rows_lost += 1;
            return Ok(());
        }
        if std::mem::take(&mut self.has_rows) {
            self.collect()?;
        }
        self.waiting.extend_from_slice(row);
        if self.waiting.len() >= FULL && !self.refusing {
            self.refusing = self.store().is_err();
        }
        Ok(())
    }

    /// Writes all rows to the file.
    ///
    /// # Errors
    /// The disk refuses them; they are tried again the next time.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.collect()?;
        let stored = self.store();
        self.refusing = stored.is_err();
        stored
    }

    /// How many rows were given up.
    pub(crate) fn rows_lost(&self) -> u64 {
        self.rows_lost
    }

    /// Moves whole rows to those that wait.
    fn collect(&mut self) -> io::Result<()> {
        self.rows.flush()?;
        if self.rows.get_ref().is_empty() {
            return Ok(());
        }
        let rows = std::mem::replace(&mut self.rows, writer(Vec::new()));
        let mut buffer = rows.into_inner().map_err(|error| error.into_error())?;
        self.waiting.append(&mut buffer);
        self.rows = writer(buffer);
        Ok(())
    }

    fn store(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.whole))?;
        if let Err(error) = self.file.write_all(&self.waiting) {
            self.cut()?;
            return Err(error);
        }
        self.whole += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting.shrink_to(FULL * 2);
        Ok(())
    }

    /// Cuts off what is behind the last whole row.
    fn cut(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.whole {
            self.file.set_len(self.whole)?;
        }
        Ok(())
    }
}

/// Where the last whole line of a file ends: a later one was torn by a crash.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut content = BufReader::new(&mut *file);
    let (mut whole, mut at, mut chunk) = (0_u64, 0_u64, vec![0_u8; 64 << 10]);
    loop {
        let number = content.read(&mut chunk)?;
        if number == 0 {
            return Ok(whole);
        }
        if let Some(last) = chunk[..number].iter().rposition(|&byte| byte == b'\n') {
            whole = at + last as u64 + 1;
        }
        at += number as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_tears_is_cut_off_and_comes_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let (mut sheet, _) = Sheet::open(&path, &["a", "b"], false).unwrap();
        sheet.row(["1", "2"].into_iter()).unwrap();
        sheet.flush().unwrap();
        let whole = sheet.whole;
        // As a disk does that takes half of it.
        sheet.file.write_all(b"3,ha").unwrap();
        let refusing = File::options().read(true).open(&path).unwrap();
        let good = std::mem::replace(&mut sheet.file, refusing);
        sheet.row(["3", "4"].into_iter()).unwrap();
        assert!(sheet.flush().is_err());
        assert!(sheet.flush().is_err());
        sheet.file = good;
        sheet.cut().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        sheet.row(["5", "6"].into_iter()).unwrap();
        sheet.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "a,b\n1,2\n3,4\n5,6\n");
        assert_eq!(sheet.rows_lost(), 0);
    }

    #[test]
    fn what_waits_for_a_disk_is_bounded_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let (mut sheet, _) = Sheet::open(&path, &["a"], false).unwrap();
        sheet.file = File::options().read(true).open(&path).unwrap();
        let long = "x".repeat(1 << 20);
        for _ in 0..40 {
            sheet.row([long.as_str()].into_iter()).unwrap();
        }
        assert!(sheet.waiting.len() <= BOUND + (2 << 20));
        assert!(
            (20..40).contains(&sheet.rows_lost()),
            "{}",
            sheet.rows_lost()
        );
    }
}
