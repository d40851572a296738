//! Nothing but the home of `tests/`: tests across crates and with real programs.
