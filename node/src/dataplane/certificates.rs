//! Certificates for tests, made anew by each.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::Tls;
use crate::config::DataPlaneTls;

/// Says who takes part, in a folder of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.path().join("authority.pem"), certificate).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    /// The files of a node that is reached at a host.
    pub(crate) fn files(&self, host: &str) -> DataPlaneTls {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |name: &str| self.folder.path().join(name);
        let files = DataPlaneTls {
            certificate: path(&format!("{host}.pem")),
            key: path(&format!("{host}.key")),
            authority: path("authority.pem"),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    pub(crate) fn tls(&self, host: &str) -> Tls {
        Tls::read(&self.files(host)).unwrap()
    }
}
