use super::*;

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 512);
    assert!(size_of::<TimeWait>() <= 64);
    assert!(size_of::<syncache::HalfOpen>() <= 64);
}
