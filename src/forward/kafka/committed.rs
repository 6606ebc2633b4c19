//! The committed offset of a partition as the brokers sent it: a number, and bytes.
//!
//! rdkafka's own accessors end the process if the metadata of an offset is not UTF-8, and take an error code that they
//! do not know for one that they do. Both come from brokers, so the fields are read from librdkafka's own structure.
#![expect(unsafe_code, reason = "rdkafka has no accessor of these fields that takes every value")]

use rdkafka::{TopicPartitionList, error::RDKafkaErrorCode, types::RDKafkaRespErr};
use std::slice;

/// The committed offset of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedOffset<'a> {
    /// The error code of the brokers or of librdkafka: 0 is none.
    pub code: i32,
    /// The offset; negative if there is none.
    pub offset: i64,
    /// Text that was committed with it, empty where the brokers keep none; any bytes.
    pub metadata: &'a [u8],
}

impl<'a> CommittedOffset<'a> {
    /// The first partition of a list that was given to the brokers. `None`: the list is empty.
    pub fn first(list: &'a TopicPartitionList) -> Option<Self> {
        // SAFETY: rdkafka has this pointer from librdkafka, never null, and frees it when the list is dropped. No field
        // of this structure is an enum.
        let native = unsafe { &*list.ptr() };
        if native.cnt < 1 || native.elems.is_null() {
            return None;
        }
        let element = native.elems;
        // SAFETY: the array has `cnt` elements, one at least, and belongs to the list. There is no reference to the
        // element as a whole, as its error may be a number that the enum does not have: it is read as the i32 that the
        // enum is represented by.
        let (code, offset, metadata, bytes) = unsafe {
            let code = (&raw const (*element).err).cast::<i32>().read();
            (code, (*element).offset, (*element).metadata.cast::<u8>().cast_const(), (*element).metadata_size)
        };
        let metadata = if metadata.is_null() || bytes == 0 {
            &[][..]
        } else {
            // SAFETY: librdkafka has allocated so many bytes for it, and frees them with the list, which is borrowed
            // and cannot be changed as long as the slice exists.
            unsafe { slice::from_raw_parts(metadata, bytes) }
        };
        Some(Self { code, offset, metadata })
    }

    /// The error, if there is one. A code that librdkafka does not know is [`RDKafkaErrorCode::Unknown`].
    pub fn error(self) -> Option<RDKafkaErrorCode> {
        match RDKafkaRespErr::try_from(self.code) {
            Ok(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) => None,
            Ok(known) => Some(known.into()),
            Err(_) => Some(RDKafkaErrorCode::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Offset;

    #[test]
    fn a_list_without_partitions_has_no_offset() {
        assert_eq!(CommittedOffset::first(&TopicPartitionList::new()), None);
    }

    #[test]
    fn an_offset_is_read_as_it_is_in_the_list() {
        let mut list = TopicPartitionList::new();
        list.add_partition("metrics", 0);
        let none = CommittedOffset::first(&list).unwrap();
        assert_eq!((none.code, none.offset < 0, none.metadata), (0, true, &b""[..]));
        let mut element = list.find_partition("metrics", 0).unwrap();
        element.set_offset(Offset::Offset(7)).unwrap();
        element.set_metadata("text");
        let found = CommittedOffset::first(&list).unwrap();
        assert_eq!((found.offset, found.metadata, found.error()), (7, &b"text"[..], None));
    }

    #[test]
    fn an_error_code_that_nobody_knows_is_unknown() {
        let error = |code| CommittedOffset { code, offset: 0, metadata: b"" }.error();
        assert_eq!(
            [0, 3, -1].map(error),
            [None, Some(RDKafkaErrorCode::UnknownTopicOrPartition), Some(RDKafkaErrorCode::Unknown)]
        );
        for code in [9_999, i32::from(i16::MAX), i32::MIN, i32::MAX] {
            assert_eq!(error(code), Some(RDKafkaErrorCode::Unknown), "{code}");
        }
    }
}
