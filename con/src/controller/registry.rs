//! The function registry: classes by id and version, code by its content.

use bytes::Bytes;
use edgeless_types::CodeDigest;

use super::Controller;
use crate::{
    check,
    problem::Refusal,
    store::{FunctionRecord, Write},
};

impl Controller {
    /// Publishes a class of functions. True: it is new.
    ///
    /// # Errors
    /// The code is no function, or another code has this id and version and is not to be replaced.
    pub async fn publish(
        &self,
        record: FunctionRecord,
        code: Bytes,
        replace: bool,
    ) -> Result<bool, Refusal> {
        let con = self.clone();
        self.carry_through(async move { con.publish_now(record, code, replace).await })
            .await
    }

    async fn publish_now(
        &self,
        record: FunctionRecord,
        code: Bytes,
        replace: bool,
    ) -> Result<bool, Refusal> {
        for (what, text) in [("id", &record.id), ("version", &record.version)] {
            check::check_name(text)
                .map_err(|says| Refusal::fault("", format!("the {what} {says}")))?;
        }
        let name = (record.id.clone(), record.version.clone());
        let known = self.state().functions.get(&name).cloned();
        let same = known.as_ref() == Some(&record);
        if known.is_some() && !same && !replace {
            return Err(Refusal::Conflict(format!(
                "`{}` version `{}` is published already with other code, outputs or runtime; \
                 publish another version, or use `?replace=true` (`--replace` of edgeless_cli)",
                record.id, record.version
            )));
        }
        // Also when it is published already: its code may have been lost.
        self.upload(Some(record.function_type.clone()), code)
            .await?;
        if same {
            return Ok(false);
        }
        let written = self
            .0
            .store
            .write(vec![Write::Function(record.clone())])
            .await;
        written.map_err(|error| Refusal::Store(error.to_string()))?;
        Ok(self.state().functions.insert(name, record).is_none())
    }

    /// Keeps code by its content; it must be a function of the runtime, or of any.
    ///
    /// # Errors
    /// The code is no function, or cannot be kept.
    pub async fn upload(
        &self,
        function_type: Option<String>,
        code: Bytes,
    ) -> Result<CodeDigest, Refusal> {
        let checked = code.clone();
        let digest = tokio::task::spawn_blocking(move || {
            check::check_code(function_type.as_deref(), &checked).map(|()| CodeDigest::of(&checked))
        });
        let digest = digest.await.map_err(|_| Refusal::Ending)?;
        let digest = digest.map_err(|problem| Refusal::fault("", problem))?;
        let put = self.0.code.put(digest, code).await;
        put.map_err(|error| Refusal::Store(error.to_string()))?;
        Ok(digest)
    }

    /// All classes of functions.
    pub fn functions(&self) -> Vec<FunctionRecord> {
        self.state().functions.values().cloned().collect()
    }

    /// One class.
    ///
    /// # Errors
    /// It is not known.
    pub fn function(&self, id: &str, version: &str) -> Result<FunctionRecord, Refusal> {
        let name = (id.to_owned(), version.to_owned());
        let known = self.state().functions.get(&name).cloned();
        known.ok_or_else(|| Refusal::Unknown {
            what: "function",
            id: format!("{id}/{version}"),
        })
    }

    /// The code of a class.
    ///
    /// # Errors
    /// It is not known or cannot be read.
    pub async fn code_of(&self, id: &str, version: &str) -> Result<Bytes, Refusal> {
        let digest = self.function(id, version)?.code;
        let code = self.0.code.get(digest).await;
        let code = code.map_err(|error| Refusal::Store(error.to_string()))?;
        code.ok_or_else(|| Refusal::Unknown {
            what: "code",
            id: digest.to_string(),
        })
    }
}
