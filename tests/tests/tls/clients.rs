//! Each kind of client certificate, seen by the server.

use micro_runtime::transport::{ClientTls, ServerTls};
use rcgen::ExtendedKeyUsagePurpose;

use crate::support::{ask, refusal, serve, server, trusting};
use micro_tests::certs::{Authority, Folder, Identity, Wish};

/// Whom the server trusts, and TLS with its own certificate.
fn mutual() -> (Authority, ServerTls) {
    let authority = Authority::new("good");
    let tls = server(&authority.sign(Wish::good())).client_ca_pem(&authority.pem);
    (authority, tls)
}

fn with(authority: &Authority, identity: &Identity) -> ClientTls {
    trusting(authority).identity_pem(&identity.certificate, &identity.key)
}

#[tokio::test]
async fn its_names_reach_the_handler() {
    let (authority, tls) = mutual();
    let running = serve(tls).await;
    let wish = Wish::good()
        .nameless()
        .dns("billing.shop.example")
        .dns("*.billing.example")
        .uri("spiffe://shop.example/billing")
        .common_name("Billing")
        .only(ExtendedKeyUsagePurpose::ClientAuth);
    let identity = authority.sign(wish);
    let answer = ask(&running.address(), Some(with(&authority, &identity))).await;
    let expected = format!(
        "billing.shop.example *.billing.example spiffe://shop.example/billing Billing {}",
        identity.der.len()
    );
    assert_eq!(answer.unwrap(), expected);
}

#[tokio::test]
async fn each_fault_is_named() {
    let (authority, tls) = mutual();
    let other = Authority::new("other");
    let running = serve(tls).await;
    let sign = |wish| Some(authority.sign(wish));
    for (identity, why) in [
        (None, "it requires a certificate and was given none"),
        (
            sign(Wish::good().years(2020, 2021)),
            "our certificate has expired",
        ),
        (
            sign(Wish::good().years(2098, 2100)),
            "our certificate has expired",
        ),
        (
            Some(other.sign(Wish::good())),
            "it does not trust the authority of our certificate",
        ),
        (
            sign(Wish::good().only(ExtendedKeyUsagePurpose::ServerAuth)),
            "it does not accept our certificate",
        ),
        (
            Some(Wish::good().self_signed()),
            "it does not trust the authority of our certificate",
        ),
    ] {
        let tls = match &identity {
            Some(identity) => with(&authority, identity),
            None => trusting(&authority),
        };
        let words = refusal(ask(&running.address(), Some(tls)).await);
        let why = format!("the peer refused the connection: {why}");
        assert!(words.contains(&why), "expected {why}, found {words}");
    }
    // Whatever its names are: they are what the handler decides by.
    let other_name = authority.sign(Wish::good().nameless().dns("other.example"));
    let answer = ask(&running.address(), Some(with(&authority, &other_name))).await;
    assert!(answer.unwrap().starts_with("other.example "));
}

#[tokio::test]
async fn it_can_be_optional() {
    let (authority, tls) = mutual();
    let running = serve(tls.client_certificate_optional()).await;
    let address = running.address();
    let answer = ask(&address, Some(trusting(&authority))).await;
    assert_eq!(answer.unwrap(), "nobody");
    let good = authority.sign(Wish::good().nameless().uri("spiffe://a/b"));
    let answer = ask(&address, Some(with(&authority, &good))).await;
    assert!(answer.unwrap().starts_with("spiffe://a/b - "));
    let bad = Wish::good().self_signed();
    let words = refusal(ask(&address, Some(with(&authority, &bad))).await);
    let why = "it does not trust the authority of our certificate";
    assert!(words.contains(why), "{words}");
}

/// A server that asks for no certificate learns of none.
#[tokio::test]
async fn it_is_not_shown_unasked() {
    let authority = Authority::new("good");
    let running = serve(server(&authority.sign(Wish::good()))).await;
    let identity = authority.sign(Wish::good());
    let answer = ask(&running.address(), Some(with(&authority, &identity))).await;
    assert_eq!(answer.unwrap(), "nobody");
}

#[tokio::test]
async fn a_revoked_one_is_refused() {
    let (authority, tls) = mutual();
    let folder = Folder::new();
    let list = folder.write("crl.pem", authority.revoke(&[7]));
    let running = serve(tls.client_crl_file(list)).await;
    let client = |serial| with(&authority, &authority.sign(Wish::good().serial(serial)));
    let words = refusal(ask(&running.address(), Some(client(7))).await);
    assert!(words.contains("our certificate was revoked"), "{words}");
    ask(&running.address(), Some(client(8))).await.unwrap();
}

#[tokio::test]
async fn a_list_that_has_expired_lets_nobody_in() {
    let (authority, tls) = mutual();
    let folder = Folder::new();
    let list = folder.write("crl.pem", authority.revoke_until(&[7], 2022));
    let running = serve(tls.client_crl_file(list)).await;
    let client = with(&authority, &authority.sign(Wish::good().serial(8)));
    refusal(ask(&running.address(), Some(client)).await);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_an_error_at_the_start() {
    let authority = Authority::new("good");
    let (one, two) = (authority.sign(Wish::good()), authority.sign(Wish::good()));
    let tls = ClientTls::new()
        .ca_pem(&authority.pem)
        .identity_pem(&one.certificate, &two.key);
    let error = tls.check().unwrap_err().to_string();
    let why = "cannot use the key given as PEM: expected a key that belongs to the certificate, ";
    assert!(error.starts_with(why), "{error}");
    let error = ServerTls::from_pem(&one.certificate, &two.key).reload();
    assert_eq!(
        error.unwrap_err().to_string(),
        tls.check().unwrap_err().to_string()
    );
    // Nothing of the key is in what is shown.
    let inside: Vec<_> = two
        .key
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let shown = format!("{tls:?} {error:?}", error = tls.check());
    assert!(inside.iter().all(|line| !shown.contains(line)), "{shown}");
}
