//! From the end of the handshake to a channel.

use std::time::Instant;

use binary_sv2::{Str0255, U256};
use common_messages_sv2::{Protocol, SetupConnection, SetupConnectionSuccess};
use mining_sv2::{OpenExtendedMiningChannel, OpenStandardMiningChannel};

use super::config::Channel;
use super::event::{ClientError, Event};
use super::{ClientSession, Opened, REQUEST_ID, Stage, target};
use crate::inline::Extranonce;
use crate::v2::message::{
    FromMiner, MessageError, REQUIRES_EXTENDED_CHANNELS, REQUIRES_FIXED_VERSION,
    REQUIRES_STANDARD_JOBS, VERSION, text,
};

impl ClientSession {
    pub(super) fn set_up(&mut self) -> Result<(), ClientError> {
        let config = self.config.clone();
        let flags = match config.channel {
            Channel::Standard => REQUIRES_STANDARD_JOBS,
            Channel::Extended { .. } => 0,
        };
        let field = |words| Str0255::new(text(words)).map_err(|_| MessageError { kind: 0 });
        let message = SetupConnection {
            protocol: Protocol::MiningProtocol,
            min_version: VERSION,
            max_version: VERSION,
            flags,
            endpoint_host: field(&config.host)?,
            endpoint_port: config.port,
            vendor: field(&config.agent)?,
            hardware_version: field("cpu")?,
            firmware: field(&config.version)?,
            device_id: field("")?,
        };
        self.send(FromMiner::SetupConnection(message))
    }

    pub(super) fn open(
        &mut self,
        now: Instant,
        success: &SetupConnectionSuccess,
    ) -> Result<(), ClientError> {
        let (version, flags) = (success.used_version, success.flags);
        let standard = self.config.channel == Channel::Standard;
        if version != VERSION || standard && flags & REQUIRES_EXTENDED_CHANNELS != 0 {
            return Err(ClientError::Unsupported { version, flags });
        }
        self.fixed_version = flags & REQUIRES_FIXED_VERSION != 0;
        self.enter(Stage::Opening, now);
        let config = self.config.clone();
        let kind = MessageError { kind: 0x10 };
        let user_identity = Str0255::new(text(&config.user)).map_err(|_| kind)?;
        let max_target = config.max_target.to_le_bytes();
        let max_target = U256::from(&max_target);
        match config.channel {
            Channel::Standard => self.send(FromMiner::OpenStandardMiningChannel(
                OpenStandardMiningChannel {
                    request_id: REQUEST_ID,
                    user_identity,
                    nominal_hash_rate: config.nominal_hash_rate,
                    max_target,
                },
            )),
            Channel::Extended { min_extranonce_len } => self.send(
                FromMiner::OpenExtendedMiningChannel(OpenExtendedMiningChannel {
                    request_id: REQUEST_ID,
                    user_identity,
                    nominal_hash_rate: config.nominal_hash_rate,
                    max_target,
                    min_extranonce_size: min_extranonce_len,
                }),
            ),
        }
    }

    pub(super) fn opened(
        &mut self,
        now: Instant,
        (id, group): (u32, u32),
        given: U256<'_>,
        prefix: &[u8],
        extranonce_len: usize,
    ) -> Result<(), ClientError> {
        let len = prefix.len() + extranonce_len;
        let wanted = match self.config.channel {
            Channel::Standard => 0,
            Channel::Extended { min_extranonce_len } => min_extranonce_len.into(),
        };
        let fits = len <= 32 && extranonce_len >= wanted;
        let prefix = Extranonce::new(prefix).filter(|_| fits);
        self.channel = Some(Opened {
            id,
            group,
            prefix: prefix.ok_or(ClientError::Extranonce { len })?,
            extranonce_len,
            target: target(given)?,
        });
        self.enter(Stage::Open, now);
        self.events.push_back(Event::Opened {
            channel_id: id,
            extranonce_len,
        });
        Ok(())
    }
}
