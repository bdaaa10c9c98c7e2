//! Certificates for the benchmark of links that are encrypted.

use std::path::Path;

use edgeless_node::{config::DataPlaneTls, dataplane::Tls};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// TLS of nodes on this machine, with an authority that nobody else has.
pub(super) fn tls(folder: &Path) -> anyhow::Result<Tls> {
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    Ok(Tls::read(&DataPlaneTls {
        certificate: write("node.pem", certificate.pem())?,
        key: write("node.key", key.serialize_pem())?,
        authority: write("authority.pem", authority.pem())?,
    })?)
}
