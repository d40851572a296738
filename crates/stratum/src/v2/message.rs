//! Messages: which structure has which number, and who may say it.

use common_messages_sv2 as common;
use mining_sv2 as mining;
use thiserror::Error;

use crate::reject::RejectReason;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("message {kind:#04x} does not parse")]
pub struct MessageError {
    /// Its number.
    pub kind: u8,
}

macro_rules! messages {
    ($(#[$doc:meta])* $name:ident<$lt:lifetime> { $($variant:ident($type:ty) = $kind:path, $bit:path;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum $name<$lt> {
            $(
                #[doc = concat!("`", stringify!($variant), "`.")]
                $variant($type),
            )*
        }

        impl<$lt> $name<$lt> {
            /// The message of that number; `None` when there is none that this side would say.
            ///
            /// # Errors
            /// The payload is not that message.
            pub fn parse(kind: u8, payload: &$lt mut [u8]) -> Result<Option<Self>, MessageError> {
                let wrong = |_| MessageError { kind };
                Ok(Some(match kind {
                    $($kind => Self::$variant(binary_sv2::from_bytes(payload).map_err(wrong)?),)*
                    _ => return Ok(None),
                }))
            }

            /// Its number, whether it is for one channel, and its bytes.
            ///
            /// # Errors
            /// A part is longer than its field can say.
            pub fn emit(self) -> Result<(u8, bool, Vec<u8>), MessageError> {
                match self {
                    $(Self::$variant(message) => {
                        let bytes = binary_sv2::to_bytes(message);
                        let bytes = bytes.map_err(|_| MessageError { kind: $kind })?;
                        Ok(($kind, $bit, bytes))
                    })*
                }
            }
        }
    };
}

messages! {
    /// What a pool says.
    FromPool<'a> {
        SetupConnectionSuccess(common::SetupConnectionSuccess) =
            common::MESSAGE_TYPE_SETUP_CONNECTION_SUCCESS,
            common::CHANNEL_BIT_SETUP_CONNECTION_SUCCESS;
        SetupConnectionError(common::SetupConnectionError<'a>) =
            common::MESSAGE_TYPE_SETUP_CONNECTION_ERROR,
            common::CHANNEL_BIT_SETUP_CONNECTION_ERROR;
        Reconnect(common::Reconnect<'a>) =
            common::MESSAGE_TYPE_RECONNECT, common::CHANNEL_BIT_RECONNECT;
        OpenStandardMiningChannelSuccess(mining::OpenStandardMiningChannelSuccess<'a>) =
            mining::MESSAGE_TYPE_OPEN_STANDARD_MINING_CHANNEL_SUCCESS,
            mining::CHANNEL_BIT_OPEN_STANDARD_MINING_CHANNEL_SUCCESS;
        OpenExtendedMiningChannelSuccess(mining::OpenExtendedMiningChannelSuccess<'a>) =
            mining::MESSAGE_TYPE_OPEN_EXTENDED_MINING_CHANNEL_SUCCESS,
            mining::CHANNEL_BIT_OPEN_EXTENDED_MINING_CHANNEL_SUCCESS;
        OpenMiningChannelError(mining::OpenMiningChannelError<'a>) =
            mining::MESSAGE_TYPE_OPEN_MINING_CHANNEL_ERROR,
            mining::CHANNEL_BIT_OPEN_MINING_CHANNEL_ERROR;
        NewMiningJob(mining::NewMiningJob<'a>) =
            mining::MESSAGE_TYPE_NEW_MINING_JOB, mining::CHANNEL_BIT_NEW_MINING_JOB;
        NewExtendedMiningJob(mining::NewExtendedMiningJob<'a>) =
            mining::MESSAGE_TYPE_NEW_EXTENDED_MINING_JOB,
            mining::CHANNEL_BIT_NEW_EXTENDED_MINING_JOB;
        SetNewPrevHash(mining::SetNewPrevHash<'a>) =
            mining::MESSAGE_TYPE_MINING_SET_NEW_PREV_HASH,
            mining::CHANNEL_BIT_MINING_SET_NEW_PREV_HASH;
        SetTarget(mining::SetTarget<'a>) =
            mining::MESSAGE_TYPE_SET_TARGET, mining::CHANNEL_BIT_SET_TARGET;
        SetExtranoncePrefix(mining::SetExtranoncePrefix<'a>) =
            mining::MESSAGE_TYPE_SET_EXTRANONCE_PREFIX,
            mining::CHANNEL_BIT_SET_EXTRANONCE_PREFIX;
        SetGroupChannel(mining::SetGroupChannel<'a>) =
            mining::MESSAGE_TYPE_SET_GROUP_CHANNEL, mining::CHANNEL_BIT_SET_GROUP_CHANNEL;
        SubmitSharesSuccess(mining::SubmitSharesSuccess) =
            mining::MESSAGE_TYPE_SUBMIT_SHARES_SUCCESS,
            mining::CHANNEL_BIT_SUBMIT_SHARES_SUCCESS;
        SubmitSharesError(mining::SubmitSharesError<'a>) =
            mining::MESSAGE_TYPE_SUBMIT_SHARES_ERROR, mining::CHANNEL_BIT_SUBMIT_SHARES_ERROR;
        UpdateChannelError(mining::UpdateChannelError<'a>) =
            mining::MESSAGE_TYPE_UPDATE_CHANNEL_ERROR,
            mining::CHANNEL_BIT_UPDATE_CHANNEL_ERROR;
        CloseChannel(mining::CloseChannel<'a>) =
            mining::MESSAGE_TYPE_CLOSE_CHANNEL, mining::CHANNEL_BIT_CLOSE_CHANNEL;
    }
}

messages! {
    /// What a miner says.
    FromMiner<'a> {
        SetupConnection(common::SetupConnection<'a>) =
            common::MESSAGE_TYPE_SETUP_CONNECTION, common::CHANNEL_BIT_SETUP_CONNECTION;
        OpenStandardMiningChannel(mining::OpenStandardMiningChannel<'a>) =
            mining::MESSAGE_TYPE_OPEN_STANDARD_MINING_CHANNEL,
            mining::CHANNEL_BIT_OPEN_STANDARD_MINING_CHANNEL;
        OpenExtendedMiningChannel(mining::OpenExtendedMiningChannel<'a>) =
            mining::MESSAGE_TYPE_OPEN_EXTENDED_MINING_CHANNEL,
            mining::CHANNEL_BIT_OPEN_EXTENDED_MINING_CHANNEL;
        UpdateChannel(mining::UpdateChannel<'a>) =
            mining::MESSAGE_TYPE_UPDATE_CHANNEL, mining::CHANNEL_BIT_UPDATE_CHANNEL;
        SubmitSharesStandard(mining::SubmitSharesStandard) =
            mining::MESSAGE_TYPE_SUBMIT_SHARES_STANDARD,
            mining::CHANNEL_BIT_SUBMIT_SHARES_STANDARD;
        SubmitSharesExtended(mining::SubmitSharesExtended<'a>) =
            mining::MESSAGE_TYPE_SUBMIT_SHARES_EXTENDED,
            mining::CHANNEL_BIT_SUBMIT_SHARES_EXTENDED;
        CloseChannel(mining::CloseChannel<'a>) =
            mining::MESSAGE_TYPE_CLOSE_CHANNEL, mining::CHANNEL_BIT_CLOSE_CHANNEL;
    }
}

/// The version of the protocol that is spoken here.
pub const VERSION: u16 = 2;
/// A miner wants jobs with a merkle root, never extended ones.
pub const REQUIRES_STANDARD_JOBS: u32 = 1;
/// A miner has to be allowed to roll the version.
pub const REQUIRES_VERSION_ROLLING: u32 = 1 << 2;
/// A pool does not take rolled versions.
pub const REQUIRES_FIXED_VERSION: u32 = 1;
/// A pool does not open standard channels.
pub const REQUIRES_EXTENDED_CHANNELS: u32 = 1 << 1;

/// What the word for a share that was refused comes down to.
pub(super) fn refusal(code: &str) -> RejectReason {
    match code {
        "stale-share" | "invalid-job-id" => RejectReason::Stale,
        "duplicate-share" => RejectReason::Duplicate,
        "difficulty-too-low" => RejectReason::LowDifficulty,
        "invalid-share" | "bad-extranonce-size" | "version-rolling-not-allowed" => {
            RejectReason::Malformed
        }
        _ => RejectReason::Other,
    }
}

/// Text of at most 255 bytes, cut at a character's end.
pub(super) fn text(text: &str) -> &[u8] {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}
