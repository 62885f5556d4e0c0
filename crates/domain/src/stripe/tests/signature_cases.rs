//! Compares the cases with headers that were computed by Python's `hmac`, for one secret, time and
//! body.

use super::*;
use crate::stripe::signature::{Secrets, verify};

const SECRET: &str = "whsec_4fQ0ours_in_force9Zk";
const FORMER: &str = "whsec_7bT2ours_before8Yp";
const NOW: i64 = 1_900_000_000;
const BODY: &str = r#"{"id":"evt_vector","object":"event","note":"Größe ✓ 😀"}"#;

fn secrets(text: &str) -> Secrets {
    Secrets::parse(text).expect("valid")
}

#[test]
fn every_case_has_its_verdict() {
    let (both, one) = (secrets(&format!("{FORMER},{SECRET}")), secrets(SECRET));
    for case in SIGNATURE_CASES {
        let made = case.make(SECRET, FORMER, NOW, BODY);
        let verdict = |secrets| verify(&made.header, made.body.as_bytes(), NOW, secrets);
        assert_eq!(verdict(&both), case.verdict, "{}", case.name);
        let alone = if case.takes_former { MISMATCH } else { case.verdict };
        assert_eq!(verdict(&one), alone, "{}, by one secret", case.name);
    }
}

#[test]
fn every_case_is_the_header_that_was_computed_elsewhere() {
    let made: Vec<(&str, String)> = SIGNATURE_CASES
        .iter()
        .map(|case| (case.name, case.make(SECRET, FORMER, NOW, BODY).header))
        .collect();
    let made: Vec<(&str, &str)> = made.iter().map(|(name, header)| (*name, &**header)).collect();
    assert_eq!(made, HEADERS);
}

#[test]
fn bodies_are_altered_where_a_case_says_so() {
    let altered = |case: &&SignatureCase| case.make(SECRET, FORMER, NOW, BODY).body != BODY;
    assert_eq!(SIGNATURE_CASES.iter().filter(altered).count(), 8);
}

const HEADERS: &[(&str, &str)] = &[
    ("plain", "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa"),
    (
        "the order of its elements is free",
        "v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,t=1900000000",
    ),
    (
        "a v0 beside it",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,v0=f26e\
         aa7a283d561d4679044cf3c6e42f9b76b6a5f9e757f797548026045fdd88",
    ),
    (
        "schemes to come",
        "v3=x,t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,v2\
         =ff,u=",
    ),
    (
        "an element without a value",
        "v9,t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "a comma too many",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,",
    ),
    (
        "an undecodable v1 first",
        "v1=zz,t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "an empty v1 last",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,v1=",
    ),
    (
        "hex digits in capitals",
        "t=1900000000,v1=B1DEC21FF910D4AABB36937CB27204D0D67C6EC2BD3FFBE081182EB9F98AEBFA",
    ),
    (
        "two v1, the first ours",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,v1=f26e\
         aa7a283d561d4679044cf3c6e42f9b76b6a5f9e757f797548026045fdd88",
    ),
    (
        "two v1, the second ours",
        "t=1900000000,v1=f26eaa7a283d561d4679044cf3c6e42f9b76b6a5f9e757f797548026045fdd88,v1=b1de\
         c21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "rotation, signed by both",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,v1=844d\
         451d7d20d2b9e0b39c5c4de5c46a8f2ef942bd4e2bcc93336a8852561cdd",
    ),
    (
        "rotation, signed by the former only",
        "t=1900000000,v1=844d451d7d20d2b9e0b39c5c4de5c46a8f2ef942bd4e2bcc93336a8852561cdd",
    ),
    (
        "by somebody else's secret",
        "t=1900000000,v1=f26eaa7a283d561d4679044cf3c6e42f9b76b6a5f9e757f797548026045fdd88",
    ),
    (
        "two v1, neither ours",
        "t=1900000000,v1=f26eaa7a283d561d4679044cf3c6e42f9b76b6a5f9e757f797548026045fdd88,v1=2e86\
         f1b3742efdc311d7f9dbac8d4a4d94ce4c9983d93cead073c672c31398d7",
    ),
    (
        "by the secret without its prefix",
        "t=1900000000,v1=d1ab27a5be566a1c1719a0e35db7cf760ae3958a56bd116840fe8d0cb70034ea",
    ),
    (
        "by the secret and a line break",
        "t=1900000000,v1=35f86b98f76dc15d91594736bd463773048e35d126dc82fb4dc524192163efb3",
    ),
    (
        "only a v0, and that right",
        "t=1900000000,v0=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "a right v0 beside a wrong v1",
        "t=1900000000,v1=f26eaa7a283d561d4679044cf3c6e42f9b76b6a5f9e757f797548026045fdd88,v0=b1de\
         c21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "the scheme in capitals",
        "t=1900000000,V1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    ("no signature", "t=1900000000"),
    ("an empty v1", "t=1900000000,v1="),
    (
        "a v1 that is no hex",
        "t=1900000000,v1=gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg",
    ),
    (
        "a v1 cut short",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aeb",
    ),
    (
        "a v1 of an odd length",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebf",
    ),
    (
        "a v1 with more behind it",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa00",
    ),
    (
        "a v1 with another = behind it",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa=x",
    ),
    (
        "a space after the comma",
        "t=1900000000, v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "a space before the digits",
        "t=1900000000,v1= b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "a v1 of zeros",
        "t=1900000000,v1=0000000000000000000000000000000000000000000000000000000000000000",
    ),
    ("nothing", ""),
    ("only commas", ",,"),
    ("no header of ours", "Bearer of a token"),
    ("names without values", "t,v1=,v0="),
    ("no time", "v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa"),
    ("an empty time", "t=,v1=90e99e4231c5be23d26349662342f5cf4fa102b291a9134039ec89f8a64a3dc5"),
    (
        "the time twice",
        "t=1900000000,t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98\
         aebfa",
    ),
    (
        "another time first",
        "t=1899999995,t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98\
         aebfa",
    ),
    (
        "another time last",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa,t=18999\
         99995",
    ),
    (
        "a time with a zero before it",
        "t=01900000000,v1=88bfbc16638b8f873aee21180a93d2c400c219771f7c0aa7d049069d390240e4",
    ),
    (
        "a time with a sign",
        "t=+1900000000,v1=d3884a222e3d35b077d938b860057a18c2015954cdcd4273ad4e75b31f65b9c1",
    ),
    (
        "a time with a space before it",
        "t= 1900000000,v1=3e634c24a234427eef2320728be4670ac610dc1e90522c03e3b6578fc5dcfebb",
    ),
    (
        "a time with letters behind it",
        "t=1900000000s,v1=2808e719870f6d9319efa01325e1f98510503b423eeffa490344e4ce3f95e4f2",
    ),
    (
        "a time with a fraction",
        "t=1900000000.0,v1=8e55736e239974d6ce0134f467399ce20136661b7cf9b459eea7e59cd698bfc2",
    ),
    (
        "a time before 1970",
        "t=-5,v1=2a524068fc28de86807c4e58f4d49f5c04d5a635a284ba152c99a50e2334e9c5",
    ),
    (
        "a time beyond numbers",
        "t=99999999999999999999,v1=8932bc5f6791253a18e392fe7453ee2e1a76ea0ce0a40a79b88b79a9fd9833\
         75",
    ),
    (
        "of some minutes ago",
        "t=1899999760,v1=0b1bcb556ec7312763a422c78edd00a422c739e4af8173551a03d63e94193359",
    ),
    (
        "of some minutes to come",
        "t=1900000240,v1=6d90f8b31100874d2b3cf19eca8ffc9cfe2c70506fb0a863ee12c154a62331f4",
    ),
    (
        "five minutes old",
        "t=1899999700,v1=cf5b6b82a834d86ab9a061f1b15d9d832ca4b4b5d4bf214ccc0dee745191ec74",
    ),
    (
        "five minutes early",
        "t=1900000300,v1=3622f7a736647a129caa1cfd817c18de442355fd39138f91dea412da28fdbb61",
    ),
    (
        "a second too old",
        "t=1899999699,v1=35f2d9d688d92a1e831c8f40d4e43a8744f8d4257a01c30ab11766b10d9f3b49",
    ),
    (
        "a second too early",
        "t=1900000301,v1=5bd06a1de8af05a8d471347d7537752120f51f1b1d98d95d1fd860f8900105bc",
    ),
    (
        "an hour old",
        "t=1899996400,v1=0be035c619ad90ce5a883a95ba97583b90c6ac009ef4a2e35428f708f2a6434e",
    ),
    (
        "an hour early",
        "t=1900003600,v1=cc5db0fccd73548aec77723fcd1201e574dd39226deddc84d709ae552d171a3c",
    ),
    (
        "a space behind the body",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "a line break behind the body",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "a byte order mark before the body",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "the body cut short",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "one character another",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "spaces that mean nothing",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    (
        "characters as escapes",
        "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa",
    ),
    ("no body", "t=1900000000,v1=b1dec21ff910d4aabb36937cb27204d0d67c6ec2bd3ffbe081182eb9f98aebfa"),
    (
        "signed without the time",
        "t=1900000000,v1=90e99e4231c5be23d26349662342f5cf4fa102b291a9134039ec89f8a64a3dc5",
    ),
    (
        "signed over another time",
        "t=1900000000,v1=4eb65f93b2574aee087997827de7c25ee7c02ff0ce7dd632f1e91d5e46d42b9e",
    ),
];
