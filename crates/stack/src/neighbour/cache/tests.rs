use super::*;

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const OTHER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

fn host(number: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + number).into())
}

fn cache(config: NeighbourConfig) -> NeighbourCache {
    NeighbourCache::new(config, Random::new(&[3; 32], "test"), Instant::ZERO)
}

fn small() -> NeighbourConfig {
    NeighbourConfig {
        entries: 4,
        queue: 2,
        ..NeighbourConfig::default()
    }
}

fn secs(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

fn answer(link: EthernetAddress) -> Advertisement {
    Advertisement {
        link: Some(link),
        solicited: true,
        overrides: true,
    }
}

fn announcement(link: EthernetAddress) -> Advertisement {
    Advertisement {
        solicited: false,
        ..answer(link)
    }
}

fn link(cache: &NeighbourCache, address: IpAddr) -> Option<EthernetAddress> {
    let found = cache.iter().find(|&(other, _, _)| other == address);
    found.map(|(_, _, link)| link)
}

fn frame(mark: usize) -> Frame {
    Frame::from(zcn_pool::SharedBuf::from_static(&[0; 64][..mark]))
}

/// A cache with a neighbour that answered at `now`.
fn with_neighbour(now: Instant) -> NeighbourCache {
    let mut cache = cache(small());
    let resolution = cache.resolve(now, host(1), &mut frame(1));
    assert!(matches!(resolution, Resolution::Solicit));
    let (link, queue) = cache.advertised(now, host(1), answer(MAC)).unwrap();
    assert_eq!((link, queue.len()), (MAC, 1));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Reachable));
    cache
}

#[test]
fn a_lost_request_is_sent_again_and_a_silent_host_is_given_up() {
    // ustack: "lost request never re-sent".
    let mut cache = cache(small());
    cache.resolve(secs(0), host(1), &mut frame(1));
    assert!(cache.pop_timeout(Instant::from_millis(999)).is_none());
    for second in 1..=2 {
        let timeout = cache.pop_timeout(secs(second)).unwrap();
        assert!(matches!(timeout, Timeout::Solicit(address, None) if address == host(1)));
        assert!(cache.pop_timeout(secs(second)).is_none());
    }
    let Some(Timeout::Failed(queue)) = cache.pop_timeout(secs(3)) else {
        panic!("given up after three");
    };
    assert_eq!(queue.len(), 1);
    assert_eq!(cache.state(host(1)), None);
    assert_eq!(cache.waiting(), 0);
    assert_eq!(cache.next_deadline(), None);
    assert_eq!(cache.stats.solicits, 3);
    assert_eq!(cache.stats.res_failed, 1);
}

#[test]
fn a_few_packets_wait_and_the_oldest_makes_room() {
    let mut cache = cache(small());
    cache.resolve(secs(0), host(1), &mut frame(1));
    assert!(matches!(
        cache.resolve(secs(0), host(1), &mut frame(2)),
        Resolution::Waits
    ));
    assert!(matches!(
        cache.resolve(secs(0), host(1), &mut frame(3)),
        Resolution::Displaced
    ));
    let (_, queue) = cache.advertised(secs(0), host(1), answer(MAC)).unwrap();
    let lens: Vec<_> = queue.iter().map(Frame::len).collect();
    assert_eq!(lens, [2, 3]);
    assert_eq!(cache.waiting(), 0);
}

#[test]
fn reachable_stale_delay_probe_and_back() {
    let mut cache = with_neighbour(secs(0));
    // The time drawn lies between 15 and 45 seconds.
    assert!(cache.pop_timeout(secs(14)).is_none());
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Reachable));
    while let Some(deadline) = cache.next_deadline() {
        assert!(deadline <= secs(46));
        assert!(cache.pop_timeout(deadline).is_none());
    }
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Stale));
    // Used: still sent at once, and asked for in five seconds.
    let now = secs(100);
    assert!(matches!(
        cache.resolve(now, host(1), &mut frame(1)),
        Resolution::Send(MAC)
    ));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Delay));
    assert!(cache.pop_timeout(secs(104)).is_none());
    for second in 105..108 {
        let timeout = cache.pop_timeout(secs(second)).unwrap();
        assert!(matches!(timeout, Timeout::Solicit(_, Some(MAC))));
        assert_eq!(cache.state(host(1)), Some(NeighbourState::Probe));
        assert!(matches!(
            cache.resolve(secs(second), host(1), &mut frame(1)),
            Resolution::Send(_)
        ));
    }
    assert!(cache.advertised(secs(107), host(1), answer(MAC)).is_none());
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Reachable));
}

#[test]
fn a_neighbour_that_went_away_is_forgotten_after_three_probes() {
    let mut cache = with_neighbour(secs(0));
    cache.advertised(secs(2), host(1), announcement(OTHER));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Stale));
    cache.resolve(secs(10), host(1), &mut frame(1));
    for second in 15..18 {
        assert!(matches!(
            cache.pop_timeout(secs(second)),
            Some(Timeout::Solicit(_, Some(OTHER)))
        ));
    }
    assert!(matches!(
        cache.pop_timeout(secs(18)),
        Some(Timeout::Failed(_))
    ));
    assert_eq!(cache.state(host(1)), None);
}

#[test]
fn tcp_confirms_without_a_probe() {
    let mut cache = with_neighbour(secs(0));
    cache.advertised(secs(2), host(1), announcement(OTHER));
    cache.resolve(secs(10), host(1), &mut frame(1));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Delay));
    cache.confirm(secs(12), None, host(1));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Reachable));
    assert!(cache.pop_timeout(secs(20)).is_none());
    // It says nothing of a neighbour that was never resolved.
    cache.confirm(secs(12), None, host(9));
    assert_eq!(cache.state(host(9)), None);
}

#[test]
fn announcements_make_no_entries() {
    // ustack: "learns MAC from any packet".
    let mut cache = cache(small());
    assert!(
        cache
            .advertised(secs(0), host(1), announcement(MAC))
            .is_none()
    );
    assert!(cache.advertised(secs(0), host(1), answer(MAC)).is_none());
    assert_eq!(cache.state(host(1)), None);
}

#[test]
fn an_announcement_right_after_an_answer_is_not_believed() {
    let mut cache = with_neighbour(secs(5));
    cache.advertised(Instant::from_millis(5_900), host(1), announcement(OTHER));
    assert_eq!(link(&cache, host(1)), Some(MAC));
    cache.advertised(secs(6), host(1), announcement(OTHER));
    assert_eq!(link(&cache, host(1)), Some(OTHER));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Stale));
}

#[test]
fn strangers_never_evict_what_is_in_use() {
    let mut cache = cache(small());
    for number in 0..4 {
        cache.resolve(secs(0), host(number), &mut frame(1));
        cache.advertised(secs(0), host(number), answer(MAC));
    }
    for number in 10..100_000 {
        cache.heard(secs(1), host(number), OTHER);
    }
    for number in 0..4 {
        assert_eq!(cache.state(host(number)), Some(NeighbourState::Reachable));
    }
    assert_eq!(cache.iter().count(), 4);
    assert_eq!(cache.stats.table_fulls, 100_000 - 10);
}

#[test]
fn the_cache_stays_within_its_cap_and_keeps_what_was_used_last() {
    let mut cache = cache(NeighbourConfig {
        solicit_rate: 1_000_000,
        solicit_burst: 1_000_000,
        ..small()
    });
    cache.resolve(secs(0), host(1), &mut frame(1));
    cache.advertised(secs(0), host(1), answer(MAC));
    for number in 10..100_010 {
        let now = secs(0) + Duration::from_micros(u64::from(number));
        cache.resolve(now, host(number), &mut frame(1));
        assert!(cache.iter().count() <= 4 && cache.waiting() <= 3);
    }
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Reachable));
    assert_eq!(cache.state(host(100_009)), Some(NeighbourState::Incomplete));
    assert_eq!(cache.state(host(100_007)), Some(NeighbourState::Incomplete));
    assert_eq!(cache.state(host(100_006)), None);
}

#[test]
fn solicitations_for_new_neighbours_are_limited() {
    let mut cache = cache(NeighbourConfig {
        solicit_rate: 10,
        solicit_burst: 5,
        entries: 1_000,
        ..NeighbourConfig::default()
    });
    let solicited = (0..100)
        .filter(|&number| {
            matches!(
                cache.resolve(secs(1), host(number), &mut frame(1)),
                Resolution::Solicit
            )
        })
        .count();
    assert_eq!(solicited, 5);
}

#[test]
fn who_asks_us_is_remembered_unconfirmed() {
    let mut cache = cache(small());
    assert!(cache.heard(secs(0), host(1), MAC).is_none());
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Stale));
    assert!(matches!(
        cache.resolve(secs(0), host(1), &mut frame(1)),
        Resolution::Send(MAC)
    ));
    // And lets waiting packets leave.
    cache.resolve(secs(0), host(2), &mut frame(1));
    let (link, queue) = cache.heard(secs(0), host(2), OTHER).unwrap();
    assert_eq!((link, queue.len()), (OTHER, 1));
    assert_eq!(cache.state(host(2)), Some(NeighbourState::Delay));
}

#[test]
fn permanent_entries_stay() {
    let mut cache = cache(small());
    assert!(cache.set_permanent(secs(0), host(1), MAC).is_empty());
    cache.advertised(secs(5), host(1), answer(OTHER));
    for number in 10..1_000 {
        cache.resolve(secs(6), host(number), &mut frame(1));
    }
    assert_eq!(link(&cache, host(1)), Some(MAC));
    assert_eq!(cache.state(host(1)), Some(NeighbourState::Permanent));
}
