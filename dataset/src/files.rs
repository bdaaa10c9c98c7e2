//! Which files a dataset has.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeless_tables::Table;
use edgeless_types::Timestamp;

use crate::reader::Reader;

/// One file of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    /// Where it is.
    pub path: Arc<Path>,
    /// Which table it has.
    pub table: Table,
    /// Its length.
    pub bytes: u64,
}

/// There is no dataset where one was looked for.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The folder cannot be read.
    #[error("could not read the folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such folder, and no file whose name begins so.
    #[error("`{}` is not there: no folder, and no beginning of the names of files such as {}", path.display(), names())]
    Missing {
        /// Where was looked.
        path: PathBuf,
    },
    /// Nothing in there has the name of a table.
    #[error("`{}` has none of the files {}", path.display(), names())]
    Nothing {
        /// Where was looked.
        path: PathBuf,
    },
}

fn names() -> String {
    Table::ALL.map(Table::file_name).join(", ")
}

/// The files of a dataset, by table and name.
///
/// `place` is a folder, whose files count if their names end with that of a table (`run1-…` as well),
/// or what ε-ORC has as `dataset_path`: a folder and the beginning of names.
///
/// # Errors
/// There is no such folder, or no such file.
pub fn find(place: &Path) -> Result<Vec<TableFile>, FindError> {
    let is_folder = place.is_dir();
    let missing = || FindError::Missing {
        path: place.to_owned(),
    };
    let ends_as_folder = place.as_os_str().as_encoded_bytes().ends_with(b"/");
    if ends_as_folder && !is_folder {
        return Err(missing());
    }
    let (folder, prefix) = match is_folder {
        true => (place, String::new()),
        false => {
            let folder = place.parent().filter(|path| !path.as_os_str().is_empty());
            let name = place.file_name().unwrap_or_default().to_string_lossy();
            (folder.unwrap_or(Path::new(".")), name.into_owned())
        }
    };
    let failed = |source| FindError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let table = Table::ALL
            .into_iter()
            .find(|table| name.ends_with(table.file_name()));
        let Some(table) = table.filter(|_| name.starts_with(&prefix)) else {
            continue;
        };
        let path = entry.path();
        let metadata = fs::metadata(&path).map_err(failed)?;
        if metadata.is_file() {
            files.push(TableFile {
                path: path.into(),
                table,
                bytes: metadata.len(),
            });
        }
    }
    files.sort_by(|a, b| (a.table, &a.path).cmp(&(b.table, &b.path)));
    match files.is_empty() {
        true if !is_folder => Err(missing()),
        true => Err(FindError::Nothing {
            path: place.to_owned(),
        }),
        false => Ok(files),
    }
}

impl TableFile {
    /// Opens it; timestamps later than `not_after` are faults.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, not_after: Timestamp) -> io::Result<Reader<File>> {
        let file = File::open(&self.path)?;
        Ok(Reader::new(
            Arc::clone(&self.path),
            self.table,
            file,
            not_after,
        ))
    }
}
