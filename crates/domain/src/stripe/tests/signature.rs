use super::*;

const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = b"{\"id\":\"evt_1\"}";

fn secrets(text: &str) -> Secrets {
    Secrets::parse(text).expect("valid")
}

fn digest(secret: &str, time: &str, body: &[u8]) -> String {
    hex::encode(mac(secret, time.as_bytes(), body).finalize().into_bytes())
}

fn verdict(header: &str) -> Result<(), SignatureError> {
    verify(header, BODY, NOW, &secrets("whsec_new_0123456789abcdef"))
}

#[test]
fn the_published_test_vector_of_hmac_sha256_holds() {
    // RFC 4231, case 2.
    let mut plain = <Hmac<Sha256> as Mac>::new_from_slice(b"Jefe").expect("any length");
    plain.update(b"what do ya want for nothing?");
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex::encode(plain.finalize().into_bytes()), expected);
}

#[test]
fn what_is_signed_here_is_accepted_here() {
    assert_eq!(verdict(&sign("whsec_new_0123456789abcdef", NOW, BODY)), Ok(()));
    assert_eq!(
        verify(
            sign("whsec_new_0123456789abcdef", NOW, BODY),
            b"{}",
            NOW,
            &secrets("whsec_new_0123456789abcdef")
        ),
        Err(SignatureError::Mismatch)
    );
}

#[test]
fn rotation_accepts_any_v1_by_any_secret() {
    let old = digest("whsec_old_0123456789abcdef", "1700000000", BODY);
    let new = digest("whsec_new_0123456789abcdef", "1700000000", BODY);
    let both = secrets("whsec_old_0123456789abcdef,whsec_new_0123456789abcdef");
    for header in [
        format!("t={NOW},v1={old},v1={new}"),
        format!("t={NOW},v1={new},v1={old}"),
        format!("v1={new},t={NOW}"),
    ] {
        assert_eq!(verdict(&header), Ok(()), "one secret, {header}");
        assert_eq!(verify(&header, BODY, NOW, &both), Ok(()), "two secrets, {header}");
    }
    assert_eq!(verify(format!("t={NOW},v1={old}"), BODY, NOW, &both), Ok(()));
    assert_eq!(verdict(&format!("t={NOW},v1={old}")), Err(SignatureError::Mismatch));
}

#[test]
fn an_undecodable_v1_and_unknown_schemes_are_skipped() {
    let good = digest("whsec_new_0123456789abcdef", "1700000000", BODY);
    for rest in ["v1=potato", "v1=", "v1", "v0=00", "v2=ff", "", "x=y=z"] {
        assert_eq!(verdict(&format!("t={NOW},{rest},v1={good}")), Ok(()), "{rest}");
    }
    assert_eq!(verdict(&format!("t={NOW},v0={good}")), Err(SignatureError::NoSignature));
    assert_eq!(verdict(&format!("t={NOW},v1={good}=x")), Err(SignatureError::NoSignature));
    assert_eq!(verdict(&format!("t={NOW},v1={}", &good[..62])), Err(SignatureError::NoSignature));
}

#[test]
fn exactly_one_canonical_time() {
    for time in ["01700000000", "+1700000000", "1700000000abc", " 1700000000", "-5", "", "1e9"] {
        let signature = digest("whsec_new_0123456789abcdef", time, BODY);
        let header = format!("t={time},v1={signature}");
        assert_eq!(verdict(&header), Err(SignatureError::NoTime), "{time:?}");
    }
    let signature = digest("whsec_new_0123456789abcdef", "1700000000", BODY);
    for header in [
        format!("v1={signature}"),
        format!("t={NOW},t={NOW},v1={signature}"),
        format!("t={NOW},t=1,v1={signature}"),
        format!("t,v1={signature}"),
        format!("t=99999999999999999999,v1={signature}"),
        String::new(),
        "no header at all".to_owned(),
    ] {
        assert_eq!(verdict(&header), Err(SignatureError::NoTime), "{header}");
    }
}

#[test]
fn five_minutes_both_ways() {
    for (time, expected) in [
        (NOW - 300, Ok(())),
        (NOW + 300, Ok(())),
        (NOW - 301, Err(SignatureError::OutsideTolerance)),
        (NOW + 301, Err(SignatureError::OutsideTolerance)),
        (0, Err(SignatureError::OutsideTolerance)),
        (i64::MAX, Err(SignatureError::OutsideTolerance)),
    ] {
        assert_eq!(verdict(&sign("whsec_new_0123456789abcdef", time, BODY)), expected, "{time}");
    }
}

#[test]
fn the_raw_bytes_are_what_is_signed() {
    let marked = b"\xef\xbb\xbf{}";
    let header = sign("whsec_new_0123456789abcdef", NOW, marked);
    assert_eq!(verify(&header, marked, NOW, &secrets("whsec_new_0123456789abcdef")), Ok(()));
    assert_eq!(
        verify(&header, b"{}", NOW, &secrets("whsec_new_0123456789abcdef")),
        Err(SignatureError::Mismatch),
        "a byte order mark is part of the body"
    );
    let broken = b"\xff\xfe";
    assert_eq!(
        verify(
            sign("whsec_new_0123456789abcdef", NOW, broken),
            broken,
            NOW,
            &secrets("whsec_new_0123456789abcdef")
        ),
        Ok(())
    );
    assert!(
        verify(
            b"\xff=\xfe,t=1".as_slice(),
            b"",
            NOW,
            &Secrets::parse_any_form("x").expect("valid")
        )
        .is_err()
    );
}

#[test]
fn secrets_are_checked_and_hidden() {
    let hidden = format!("{:?}", secrets("whsec_a_0123456789abcdef,whsec_b_0123456789abcdef"));
    assert_eq!(hidden, "Secrets(2 hidden)");
    for (text, expected) in [
        ("", MalformedSecrets::Empty),
        ("whsec_a_0123456789abcdef,", MalformedSecrets::Empty),
        ("whsec_a_0123456789abcdef, whsec_b_0123456789abcdef", MalformedSecrets::Unprintable),
        ("whsec_a_0123456789abcdef\n", MalformedSecrets::Unprintable),
        ("sk_test_1", MalformedSecrets::ApiKey),
        ("a", MalformedSecrets::Form),
        ("whsec_", MalformedSecrets::Form),
        ("whsec_0123456789abcde", MalformedSecrets::Form),
        ("0123456789abcdef0123456789abcdef", MalformedSecrets::Form),
        ("whsec_a_0123456789abcdef,b", MalformedSecrets::Form),
    ] {
        assert_eq!(Secrets::parse(text), Err(expected), "{text:?}");
    }
    assert_eq!(
        Secrets::parse(&vec!["whsec_a_0123456789abcdef"; 17].join(",")),
        Err(MalformedSecrets::TooMany)
    );
}
