//! From the end of the handshake to a channel.

use binary_sv2::{B032, Str0255, U256};
use common_messages_sv2::{
    Protocol, SetupConnection, SetupConnectionError, SetupConnectionSuccess,
};
use mining_sv2::{
    OpenExtendedMiningChannelSuccess, OpenMiningChannelError, OpenStandardMiningChannelSuccess,
};

use super::config::{ServerError, ServerEvent};
use super::{ServerSession, Stage, field};
use crate::inline::Extranonce;
use crate::reject::cut;
use crate::server::vardiff::Vardiff;
use crate::target::Target;
use crate::v2::message::{
    FromPool, MessageError, REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS,
    REQUIRES_VERSION_ROLLING, VERSION,
};

impl ServerSession {
    pub(super) fn set_up(&mut self, setup: &SetupConnection<'_>) -> Result<(), ServerError> {
        let fixed = self.config.version_mask == 0;
        let known = REQUIRES_VERSION_ROLLING | REQUIRES_STANDARD_JOBS;
        let code = if setup.protocol != Protocol::MiningProtocol {
            "unsupported-protocol"
        } else if !(setup.min_version..=setup.max_version).contains(&VERSION) {
            "protocol-version-mismatch"
        } else if setup.flags & !known != 0 || fixed && setup.flags & REQUIRES_VERSION_ROLLING != 0
        {
            "unsupported-feature-flags"
        } else {
            self.stage = Stage::Idle;
            let part = |field: &Str0255<'_>| String::from_utf8_lossy(field.as_bytes()).into_owned();
            self.agent = cut(format!("{}/{}", part(&setup.vendor), part(&setup.firmware)));
            let message = SetupConnectionSuccess {
                used_version: VERSION,
                flags: if fixed { REQUIRES_FIXED_VERSION } else { 0 },
            };
            return Ok(self.send(FromPool::SetupConnectionSuccess(message))?);
        };
        let message = SetupConnectionError {
            flags: setup.flags & !known,
            error_code: field(code)?,
        };
        self.send(FromPool::SetupConnectionError(message))?;
        Err(ServerError::SetupRefused { code })
    }

    /// Opens the channel; extended with at least `min_extranonce_len` bytes.
    pub(super) fn open(
        &mut self,
        user: String,
        (request_id, nominal_hash_rate, max_target): (u32, f32, U256<'_>),
        min_extranonce_len: Option<u16>,
    ) -> Result<(), ServerError> {
        let easiest = Target::from_le_bytes(max_target.to_array());
        let code = if self.stage != Stage::Idle {
            Some("channel-capacity-exhausted")
        } else if easiest.is_none() {
            Some("max-target-out-of-range")
        } else if !(nominal_hash_rate.is_finite() && nominal_hash_rate >= 0.0) {
            Some("invalid-nominal-hashrate")
        } else if min_extranonce_len
            .is_some_and(|len| usize::from(len) > self.config.extranonce_len)
        {
            Some("min-extranonce-size-too-large")
        } else {
            None
        };
        if let Some(code) = code {
            let message = OpenMiningChannelError {
                request_id,
                error_code: field(code)?,
            };
            return Ok(self.send(FromPool::OpenMiningChannelError(message))?);
        }
        // A miner may want shares to be harder than the pool does, not easier.
        self.easiest = easiest.unwrap_or(Target::MAX);
        self.target = self.bounded_target();
        let (channel_id, target) = (self.config.channel_id, self.target.to_le_bytes());
        let extended = min_extranonce_len.is_some();
        let prefix = self.prefix(extended);
        let target = U256::from(&target);
        let extranonce_prefix = B032::try_from(prefix.as_bytes());
        let extranonce_prefix = extranonce_prefix.map_err(|_| MessageError { kind: 0x11 })?;
        if extended {
            self.stage = Stage::Extended;
            self.send(FromPool::OpenExtendedMiningChannelSuccess(
                OpenExtendedMiningChannelSuccess {
                    request_id,
                    channel_id,
                    target,
                    // At most 32: the settings of a channel with more open none.
                    extranonce_size: self.config.extranonce_len as u16,
                    extranonce_prefix,
                    group_channel_id: 0,
                },
            ))?;
        } else {
            self.stage = Stage::Standard;
            self.send(FromPool::OpenStandardMiningChannelSuccess(
                OpenStandardMiningChannelSuccess {
                    request_id,
                    channel_id,
                    target,
                    extranonce_prefix,
                    group_channel_id: 0,
                },
            ))?;
        }
        self.events.push_back(ServerEvent::Opened {
            agent: self.agent.clone(),
            user,
            extended,
            nominal_hash_rate,
        });
        self.tip = None;
        let now = self.received_at;
        self.vardiff = self.config.vardiff.map(|config| Vardiff::new(config, now));
        if let Some((number, job)) = self.job.clone() {
            self.give(now, number, &job)?;
        }
        Ok(())
    }

    /// The pool's part of the extranonce; on a standard channel that is all of it.
    pub(super) fn prefix(&self, extended: bool) -> Extranonce {
        if extended {
            return self.config.prefix;
        }
        let rest = vec![0; self.config.extranonce_len];
        let whole = [self.config.prefix.as_bytes(), &rest].concat();
        Extranonce::new(&whole).unwrap_or(Extranonce::EMPTY)
    }
}
