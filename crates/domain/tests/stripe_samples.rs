//! Our own samples, in every version's shape: signed, verified and read.

use driftlock_domain::stripe::event::{Event, EventKind};
use driftlock_domain::stripe::sample::{self, ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_domain::stripe::signature::{Secrets, sign, verify};
use driftlock_domain::time::Timestamp;

fn params(shape: ApiShape) -> LifeParams {
    let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
    LifeParams {
        seed: 5,
        shape,
        livemode: false,
        organization: "org_00000000000000000000000000000001".to_owned(),
        customer: None,
        price: price("standard", 4_900),
        upgrade: price("growth", 24_900),
        start: Timestamp::from_secs(1_800_000_000),
    }
}

#[test]
fn our_own_samples_are_signed_verified_and_read() {
    let secrets =
        Secrets::parse("whsec_old_0123456789abcdef,whsec_new_0123456789abcdef").expect("secrets");
    for shape in ApiShape::ALL {
        for kind in EventKind::HANDLED {
            let body = sample::event(kind, Life::new(params(shape))).expect("a sample").to_string();
            let header = sign("whsec_new_0123456789abcdef", 1_800_000_000, body.as_bytes());
            assert_eq!(verify(&header, body.as_bytes(), 1_800_000_299, &secrets), Ok(()));
            assert_eq!(&Event::parse(body.as_bytes()).expect("an event").kind, kind);
        }
        let life: Life = Scenario::Signup.life(params(shape));
        assert!(life.events().iter().all(|event| event["id"].is_string()));
    }
}
