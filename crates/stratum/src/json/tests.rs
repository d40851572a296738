use proptest::prelude::*;

use super::*;

fn same(ours: Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == *b,
        (Value::Number(a), serde_json::Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Text(a), serde_json::Value::String(b)) => a.is(b),
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.count() == b.len() && a.zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), serde_json::Value::Object(b)) => b
            .iter()
            .all(|(name, value)| a.get(name).is_some_and(|ours| same(ours, value))),
        _ => false,
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9..1e9f64).prop_map(Into::into),
        ".{0,80}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,9}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_the_same(value in json(), pretty: bool) {
        let line = if pretty {
            serde_json::to_vec_pretty(&value)
        } else {
            serde_json::to_vec(&value)
        }.expect("writes");
        prop_assert!(same(Value::parse(&line).expect("parses"), &value));
    }

    #[test]
    fn what_is_accepted_is_what_serde_json_accepts(line in r#"[\[\]{}",:\\u0-9a-fetrunls.+\- \n\t]{0,40}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&line);
        let ours = Value::parse(line.as_bytes());
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert!(same(*ours, theirs), "{line:?}"),
            (Err(_), Err(_)) => {}
            // We check numbers by their grammar; they also refuse what is beyond a float, and
            // lone surrogates, which we replace.
            (Ok(_), Err(error)) => prop_assert!(
                error.to_string().contains("out of range")
                    || error.to_string().contains("surrogate")
                    || error.to_string().contains("hex escape")
                    || line.contains("\\u"),
                "{line:?}: {error}"
            ),
            (Err(error), Ok(_)) => prop_assert!(false, "{line:?}: {error}"),
        }
    }

    #[test]
    fn text_comes_back_as_it_was_written(text in any::<String>()) {
        let mut line = Vec::new();
        write_text(&mut line, &text);
        let theirs: String = serde_json::from_slice(&line).expect("valid");
        prop_assert_eq!(&theirs, &text);
        let ours = Value::parse(&line).expect("valid").as_text().expect("text");
        prop_assert!(ours.is(&text));
    }
}

#[test]
fn faults_are_told_with_their_place() {
    let syntax = |at| Err(JsonError::Syntax { at });
    assert_eq!(Value::parse(b"[1,2"), Err(JsonError::Incomplete));
    assert_eq!(Value::parse(b"\"abc"), Err(JsonError::Incomplete));
    assert_eq!(Value::parse(b""), Err(JsonError::Incomplete));
    assert_eq!(Value::parse(b"[1,]"), syntax(3));
    assert_eq!(Value::parse(b"{\"a\" 1}"), syntax(5));
    assert_eq!(Value::parse(b"01"), syntax(0));
    assert_eq!(Value::parse(b"\"a\nb\""), syntax(2));
    assert_eq!(Value::parse(b"\"\\x\""), syntax(2));
    assert_eq!(Value::parse(b"null null"), syntax(5));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(Value::parse(&nested(MAX_DEPTH.into())).is_ok());
    let error = Value::parse(&nested(100_000)).expect_err("too deep");
    assert_eq!(
        error,
        JsonError::Deep {
            at: MAX_DEPTH.into()
        }
    );
}

#[test]
fn escapes_and_faulty_text_are_resolved_as_far_as_they_can_be() {
    let text = |line: &'static [u8]| {
        let value = Value::parse(line).expect("parses");
        value.as_text().expect("text").to_str().into_owned()
    };
    assert_eq!(text(br#""a\n\u00e9\ud83d\ude00\/""#), "a\n\u{e9}\u{1f600}/");
    assert_eq!(text(br#""\ud83dx""#), "\u{fffd}x");
    assert_eq!(text(br#""\ud83d\u0041""#), "\u{fffd}A");
    assert_eq!(text(b"\"a\xffb\""), "a\u{fffd}b");
    assert_eq!(text(b"\"\\n\xff\""), "\n\u{fffd}");
}

#[test]
fn numbers_are_taken_with_and_without_quotes() {
    let value = |line: &'static [u8]| Value::parse(line).expect("parses");
    assert_eq!(value(b"0.125").as_f64(), Some(0.125));
    assert_eq!(value(b"\"8\"").as_f64(), Some(8.0));
    assert_eq!(value(b"\"8\"").as_i64(), Some(8));
    assert_eq!(value(b"-3").as_i64(), Some(-3));
    assert_eq!(value(b"1e999").as_f64(), None);
    assert_eq!(value(b"1.5").as_i64(), None);
    assert_eq!(value(b"\"NaN\"").as_f64(), None);
    assert_eq!(value(b"\"inf\"").as_f64(), None);
    assert_eq!(value(b"99999999999999999999").as_i64(), None);
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let Value::Object(object) = Value::parse(br#"{"a":1,"b":2,"a":3}"#).expect("parses") else {
        panic!("an object");
    };
    assert_eq!(object.get("a").and_then(Value::as_i64), Some(3));
    assert_eq!(object.get("c"), None);
}
