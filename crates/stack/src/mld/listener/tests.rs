use super::*;
use zcn_wire::MldQuerier;

const START: Instant = Instant::from_secs(100);

fn group(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, number)
}

fn listener(groups: u16) -> Listener {
    let mut listener = Listener::new(Random::new(&[5; 32], "groups"));
    for number in 0..groups {
        listener.join(START, group(number));
    }
    listener
}

/// One that has told its changes.
fn settled(groups: u16) -> Listener {
    let mut listener = listener(groups);
    said(&mut listener, START + Duration::from_secs(5));
    listener
}

/// Everything that it says until `end`, with the time.
fn said(listener: &mut Listener, end: Instant) -> Vec<(Instant, Report)> {
    let mut all = Vec::new();
    while let Some(at) = listener.next_deadline().filter(|&at| at <= end) {
        let reports = listener.take_due(at);
        all.extend(reports.into_iter().map(|report| (at, report)));
        assert!(listener.next_deadline() != Some(at), "stuck at {at}");
    }
    all
}

fn records(kind: MldRecordKind, groups: impl IntoIterator<Item = u16>) -> Report {
    let records = groups.into_iter().map(|number| (kind, group(number)));
    Report::Records(records.collect())
}

const GENERAL: MldQuery<'_> = MldQuery {
    max_response_code: 10_000,
    group: Ipv6Addr::UNSPECIFIED,
    querier: Some(MldQuerier {
        suppress: false,
        robustness: 2,
        interval_code: 125,
        sources: &[],
    }),
};

const GENERAL_V1: MldQuery<'_> = MldQuery {
    querier: None,
    ..GENERAL
};

#[test]
fn a_change_is_told_at_once_and_again_within_a_second() {
    let mut listener = listener(2);
    // A second address of one group changes nothing, nor does the first that goes.
    listener.join(START, group(1));
    listener.leave(START, group(1));
    let told = said(&mut listener, Instant::MAX);
    let expected = records(MldRecordKind::ToExclude, 0..2);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], (START, expected.clone()));
    assert_eq!(told[1].1, expected);
    assert!(told[1].0 > START && told[1].0 <= START + Duration::from_secs(1));

    let later = Instant::from_secs(200);
    listener.leave(later, group(1));
    let told = said(&mut listener, Instant::MAX);
    let expected = records(MldRecordKind::ToInclude, [1]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|(_, report)| *report == expected));
    assert_eq!(listener.groups.len(), 1);
    // What was never joined cannot be left.
    listener.leave(later, group(1));
    assert_eq!(listener.next_deadline(), None);
}

#[test]
fn who_comes_back_before_it_was_told_is_told_to_be_there() {
    let mut listener = settled(1);
    listener.leave(Instant::from_secs(200), group(0));
    listener.join(Instant::from_secs(200), group(0));
    let told = said(&mut listener, Instant::MAX);
    let expected = records(MldRecordKind::ToExclude, [0]);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, report)| *report == expected));
}

#[test]
fn a_general_query_is_answered_once_for_all_groups_within_its_time() {
    let mut listener = settled(3);
    let asked = Instant::from_secs(200);
    for _ in 0..10_000 {
        listener.handle_query(asked, &GENERAL);
    }
    let told = said(&mut listener, Instant::MAX);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, records(MldRecordKind::IsExclude, 0..3));
    assert!(told[0].0 >= asked && told[0].0 <= asked + Duration::from_secs(10));
    assert_eq!(listener.groups.len(), 3);
}

#[test]
fn answers_are_spread_over_the_time_that_the_querier_gives() {
    let mut listener = settled(1);
    let mut delays = Vec::new();
    for round in 1..=200 {
        let asked = Instant::from_secs(1_000 * round);
        listener.handle_query(asked, &GENERAL);
        let told = said(&mut listener, Instant::MAX);
        delays.push(told[0].0.as_millis() - asked.as_millis());
    }
    assert!(delays.iter().all(|&delay| delay <= 10_000));
    for part in 0..4 {
        let inside = delays
            .iter()
            .filter(|&&delay| delay / 2_500 == part)
            .count();
        assert!(inside > 20, "{inside} in quarter {part}");
    }
}

#[test]
fn a_query_for_one_group_is_answered_by_who_is_in_it() {
    let mut listener = settled(3);
    let asked = Instant::from_secs(200);
    let about = |number| MldQuery {
        group: group(number),
        ..GENERAL
    };
    listener.handle_query(asked, &about(7));
    assert_eq!(listener.next_deadline(), None);
    // With sources or without.
    let sources = [group(9).octets()];
    let of_sources = MldQuery {
        querier: GENERAL.querier.map(|querier| MldQuerier {
            sources: &sources,
            ..querier
        }),
        ..about(1)
    };
    for query in [about(1), of_sources] {
        listener.handle_query(asked, &query);
        listener.handle_query(asked, &query);
        let told = said(&mut listener, Instant::MAX);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].1, records(MldRecordKind::IsExclude, [1]));
    }
}

#[test]
fn a_querier_of_version_1_is_answered_in_its_version() {
    let mut listener = settled(3);
    let asked = Instant::from_secs(200);
    listener.handle_query(asked, &GENERAL_V1);
    // Somebody else was faster for one of them.
    listener.handle_report_v1(asked, group(1));
    let told = said(&mut listener, asked + Duration::from_secs(10));
    let mut groups: Vec<_> = told
        .into_iter()
        .map(|(_, report)| match report {
            Report::Listening(group) => group,
            other => panic!("{other:?}"),
        })
        .collect();
    groups.sort();
    assert_eq!(groups, [group(0), group(2)]);
    // A group is left by who spoke last, and that is said once.
    let left = asked + Duration::from_secs(20);
    listener.leave(left, group(0));
    listener.leave(left, group(1));
    let told = said(&mut listener, left + Duration::from_secs(10));
    assert_eq!(told, [(left, Report::Done(group(0)))]);
    // A querier of version 2 beside it is answered in version 1.
    listener.handle_query(left, &GENERAL);
    let told = said(&mut listener, left + Duration::from_secs(10));
    assert_eq!(told[0].1, Report::Listening(group(2)));
    // After twice the interval and the time for answers it counts as gone.
    let gone = asked + QUERY_INTERVAL * 2 + Duration::from_secs(10);
    listener.join(gone, group(4));
    let told = said(&mut listener, Instant::MAX);
    assert_eq!(told[0].1, records(MldRecordKind::ToExclude, [4]));
}

#[test]
fn the_querier_says_how_much_is_lost() {
    let mut listener = settled(1);
    let asked = Instant::from_secs(200);
    let with = |robustness, interval_code| MldQuery {
        querier: GENERAL.querier.map(|querier| MldQuerier {
            robustness,
            interval_code,
            ..querier
        }),
        ..GENERAL
    };
    for (robustness, told) in [(5, 5), (0, 2), (1, 1)] {
        listener.handle_query(asked, &with(robustness, 10));
        said(&mut listener, Instant::MAX);
        listener.leave(asked, group(0));
        assert_eq!(said(&mut listener, Instant::MAX).len(), told);
        listener.join(asked, group(0));
        assert_eq!(said(&mut listener, Instant::MAX).len(), told);
    }
    // The presence of version 1 is counted in the querier's intervals, or in the default one.
    listener.handle_query(asked, &with(3, 10));
    listener.handle_query(asked, &GENERAL_V1);
    let until = asked + Duration::from_secs(3 * 10 + 10);
    assert_eq!(listener.version_1_until, Some(until));
    listener.handle_query(asked, &with(3, 0));
    assert_eq!(listener.query_interval, QUERY_INTERVAL);
}

#[test]
fn no_time_to_answer_means_at_once() {
    let mut listener = settled(1);
    let asked = Instant::from_secs(200);
    listener.handle_query(
        asked,
        &MldQuery {
            max_response_code: 0,
            ..GENERAL
        },
    );
    assert_eq!(said(&mut listener, asked).len(), 1);
}

#[test]
fn with_a_new_source_everything_is_told_again() {
    let mut listener = settled(2);
    let now = Instant::from_secs(200);
    listener.announce(now);
    let told = said(&mut listener, Instant::MAX);
    let expected = records(MldRecordKind::ToExclude, 0..2);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, report)| *report == expected));
    // Who listens to nothing has nothing to say.
    let mut silent = Listener::new(Random::new(&[5; 32], "groups"));
    silent.announce(now);
    assert_eq!(silent.next_deadline(), None);
}
