//! TLS before a service, and the authorities that vouch for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate, in DER and PEM, and its key.
pub(crate) struct Identity {
    pub(crate) pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            pem: certificate.pem(),
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// An authority of that name, and a server at 127.0.0.1 that it vouches for.
pub(crate) fn authority_and_server(name: &str) -> (Identity, Identity) {
    let key = KeyPair::generate().unwrap();
    let mut authority = params(name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = Identity::new(&authority.self_signed(&key).unwrap(), &key);
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let server = params("server").signed_by(&key, &issuer).unwrap();
    (own, Identity::new(&server, &key))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// What hands connections on to a service that knows no TLS. Gone when dropped.
pub(crate) struct Front {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Front {
    pub(crate) fn new(service: SocketAddr, identity: Identity) -> Self {
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(identity.chain, identity.key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that breaks off is its own problem.
                    let mut outside = acceptor.accept(stream).await?;
                    let mut inside = TcpStream::connect(service).await?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Self { address, _runtime: runtime }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}
