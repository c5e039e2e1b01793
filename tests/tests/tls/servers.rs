//! Each kind of server certificate, seen by the client.

use micro_runtime::transport::ClientTls;
use rcgen::ExtendedKeyUsagePurpose;

use crate::support::{ask, good, in_time, refusal, serve, server, trusting};
use micro_tests::certs::{Authority, Folder, Identity, Wish};

/// Why a client that trusts `authority` does not take a server of this identity.
async fn refused(authority: &Authority, identity: &Identity) -> String {
    let running = serve(server(identity)).await;
    let words = refusal(ask(&running.address(), Some(trusting(authority))).await);
    assert!(words.contains("the TLS handshake failed: "), "{words}");
    in_time(running.stop()).await.unwrap();
    words
}

#[tokio::test]
async fn a_valid_one_is_taken() {
    let (authority, running) = good().await;
    let address = running.address();
    let answer = ask(&address, Some(trusting(&authority))).await.unwrap();
    assert_eq!(answer, "nobody");
    let port = address.rsplit(':').next().unwrap();
    for host in ["localhost", "LOCALHOST"] {
        let answer = ask(&format!("{host}:{port}"), Some(trusting(&authority))).await;
        assert_eq!(answer.unwrap(), "nobody", "{host}");
    }
}

#[tokio::test]
async fn each_fault_is_named() {
    let (authority, other) = (Authority::new("good"), Authority::new("other"));
    let sign = |wish| authority.sign(wish);
    for (identity, why) in [
        (
            sign(Wish::good().years(2020, 2021)),
            "the peer's certificate has expired",
        ),
        (
            sign(Wish::good().years(2098, 2100)),
            "the peer's certificate is not valid yet",
        ),
        (
            other.sign(Wish::good()),
            "the peer's certificate comes from an authority that is not trusted here",
        ),
        (
            sign(Wish::good().nameless().dns("shop.example").ip("10.0.0.7")),
            "the peer's certificate is for other names: expected 127.0.0.1, found DnsName(\"shop.example\"), \
             IpAddress(10.0.0.7)",
        ),
        (
            sign(Wish::good().only(ExtendedKeyUsagePurpose::ClientAuth)),
            "the peer's certificate may not be used for this (extended key usage)",
        ),
        (
            Wish::good().self_signed(),
            "the peer's certificate comes from an authority that is not trusted here",
        ),
    ] {
        let words = refused(&authority, &identity).await;
        assert!(words.contains(why), "expected {why}, found {words}");
    }
}

/// A certificate may have thousands of names, and none of them is worth an error of so many bytes, which travels on
/// in the status of whoever made the call.
#[tokio::test]
async fn of_many_names_some_are_told() {
    let authority = Authority::new("good");
    let names = |wish: Wish, number| wish.dns(&format!("node{number}.shop.example"));
    let wish = (0..1000).fold(Wish::good().nameless(), names);
    let words = refused(&authority, &authority.sign(wish)).await;
    let why = "found DnsName(\"node0.shop.example\"), DnsName(\"node1.shop.example\")";
    assert!(words.contains(why), "{words}");
    assert!(words.contains("and 995 more"), "{words}");
    assert!(words.len() < 1000, "{} bytes: {words}", words.len());
}

/// What many a recipe makes with `openssl`.
#[tokio::test]
async fn one_of_an_authority_is_named() {
    let identity = Wish::good().authority().self_signed();
    let running = serve(server(&identity)).await;
    let tls = ClientTls::new().ca_pem(&identity.certificate);
    let words = refusal(ask(&running.address(), Some(tls)).await);
    let why = "is one of an authority (CA:TRUE), which may sign others";
    assert!(words.contains(why), "{words}");
}

#[tokio::test]
async fn a_self_signed_one_is_taken_by_who_trusts_it() {
    let identity = Wish::good().self_signed();
    let running = serve(server(&identity)).await;
    let tls = ClientTls::new().ca_pem(&identity.certificate);
    assert_eq!(ask(&running.address(), Some(tls)).await.unwrap(), "nobody");
}

/// The system's authorities sign no certificate for 127.0.0.1.
#[tokio::test]
async fn the_systems_authorities_do_not_know_it() {
    let (_, running) = good().await;
    let words = refusal(ask(&running.address(), Some(ClientTls::new())).await);
    let expected = [
        "comes from an authority that is not trusted here",
        // A machine without any.
        "this system has no authorities to trust",
    ];
    assert!(expected.iter().any(|why| words.contains(why)), "{words}");
}

#[tokio::test]
async fn who_skips_verification_takes_any() {
    let expired = Wish::good().years(2020, 2021).nameless().self_signed();
    let running = serve(server(&expired)).await;
    let tls = ClientTls::new().insecure_skip_verify();
    assert_eq!(ask(&running.address(), Some(tls)).await.unwrap(), "nobody");
}

#[tokio::test]
async fn another_name_can_be_expected() {
    let authority = Authority::new("good");
    let identity = authority.sign(Wish::good().nameless().dns("*.shop.example"));
    let running = serve(server(&identity)).await;
    let tls = trusting(&authority).server_name("stock.shop.example");
    assert_eq!(ask(&running.address(), Some(tls)).await.unwrap(), "nobody");
    let tls = trusting(&authority).server_name("a.stock.shop.example");
    let words = refusal(ask(&running.address(), Some(tls)).await);
    let why = "expected a.stock.shop.example, found DnsName(\"*.shop.example\")";
    assert!(words.contains(why), "{words}");
}

/// By name the certificate is for the host, whatever address it has.
#[tokio::test]
async fn the_host_of_the_node_is_expected() {
    let authority = Authority::new("good");
    let running = serve(server(
        &authority.sign(Wish::good().nameless().ip("127.0.0.1")),
    ))
    .await;
    let address = running.address();
    let answer = ask(&address, Some(trusting(&authority))).await;
    assert_eq!(answer.unwrap(), "nobody");
    let by_name = address.replace("127.0.0.1", "localhost");
    let words = refusal(ask(&by_name, Some(trusting(&authority))).await);
    let why = "expected localhost, found IpAddress(127.0.0.1)";
    assert!(words.contains(why), "{words}");
}

#[tokio::test]
async fn a_revoked_one_is_refused() {
    let (authority, folder) = (Authority::new("good"), Folder::new());
    let list = folder.write("crl.pem", authority.revoke(&[7]));
    let identity = authority.sign(Wish::good().serial(7));
    let running = serve(server(&identity)).await;
    let tls = trusting(&authority).crl_file(&list);
    let words = refusal(ask(&running.address(), Some(tls.clone())).await);
    assert!(
        words.contains("the peer's certificate was revoked"),
        "{words}"
    );
    let running = serve(server(&authority.sign(Wish::good().serial(8)))).await;
    assert_eq!(ask(&running.address(), Some(tls)).await.unwrap(), "nobody");
}

/// Who keeps a list that is no longer renewed from its readers would have revoked nothing since.
#[tokio::test]
async fn a_list_that_has_expired_lets_nobody_in() {
    let (authority, folder) = (Authority::new("good"), Folder::new());
    let list = folder.write("crl.pem", authority.revoke_until(&[7], 2022));
    let running = serve(server(&authority.sign(Wish::good().serial(8)))).await;
    let tls = trusting(&authority).crl_file(&list);
    let words = refusal(ask(&running.address(), Some(tls)).await);
    let why = "the list of revoked certificates has expired";
    assert!(words.contains(why), "{words}");
}

/// As names are written so that no search domain is tried: `shop.example.`
#[tokio::test]
async fn a_dot_at_the_end_of_a_name_is_no_part_of_it() {
    let (authority, running) = good().await;
    let tls = trusting(&authority).server_name("localhost.");
    let answer = ask(&running.address(), Some(tls)).await;
    assert_eq!(answer.unwrap(), "nobody");
}

/// Each call tells what is wrong with the files, and works once they are right.
#[tokio::test]
async fn files_that_cannot_be_used_are_told() {
    let (authority, running) = good().await;
    let folder = Folder::new();
    let path = folder.path("ca.pem");
    let tls = ClientTls::new().ca_file(&path);
    let address = running.address();
    let connect = async || {
        let address = address.parse().unwrap();
        let limits = micro_runtime::transport::ClientLimits::new();
        micro_runtime::transport::dial_tls(&address, &limits, &tls).await
    };
    for (text, why) in [
        (None, "cannot read the authorities from"),
        (Some(""), "expected PEM with BEGIN CERTIFICATE, found none"),
        (
            Some("-----BEGIN CERTIFICATE-----\n!\n"),
            "expected PEM with BEGIN CERTIFICATE, ",
        ),
        (
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "expected certificates of authorities, ",
        ),
    ] {
        if let Some(text) = text {
            folder.write("ca.pem", text);
        }
        let words = connect().await.unwrap_err().detail;
        assert!(words.contains(why), "expected {why}, found {words}");
        assert!(words.contains("ca.pem"), "{words}");
        assert!(tls.check().is_err());
    }
    folder.write("ca.pem", &authority.pem);
    connect().await.unwrap();
    tls.check().unwrap();
}
