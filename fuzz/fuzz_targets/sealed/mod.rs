//! Frames of Stratum V2 behind a good handshake.

use noise_sv2::NoiseEngine;

/// A frame as it is on the wire; what does not fit into one record is cut.
pub fn frame(engine: &mut NoiseEngine, extension: u16, kind: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    let [low, high] = extension.to_le_bytes();
    let mut bytes = vec![low, high, kind, a, b, c];
    engine.encrypt(&mut bytes).expect("few records");
    if !payload.is_empty() {
        let mut record = payload[..payload.len().min(60_000)].to_vec();
        engine.encrypt(&mut record).expect("few records");
        bytes.extend(record);
    }
    bytes
}
