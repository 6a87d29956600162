//! Keys and values of the vector database.
//!
//! A *slot* is the pair of a knowledge base and a generation of its embeddings; the graph index
//! numbers it with 16 bits. An *item* is one vector of a slot, numbered upwards and never reused.

use heed::types::{Bytes, DecodeIgnore, Str, Unit};
use heed::{Database, RoTxn, RwTxn};

use crate::error::{Error, Result};
use crate::scope::Source;

/// Length of what precedes the numbers of a vector in the items table.
const ITEM_HEADER: usize = 16 + 17 + 8;

#[derive(Clone, Copy)]
pub(super) struct Tables {
    /// `format` and `watermark`, each a big-endian number.
    pub(super) state: Database<'static, Str, Bytes>,
    /// Base and generation to [`Slot`].
    pub(super) slots: Database<'static, Bytes, Bytes>,
    /// Slot and item to [`Item`].
    pub(super) items: Database<'static, Bytes, Bytes>,
    /// Passage and slot to item.
    pub(super) by_passage: Database<'static, Bytes, Bytes>,
    /// Slot, source and item.
    pub(super) by_source: Database<'static, Bytes, Unit>,
    /// Slot and item: items that are gone but still in the graph.
    pub(super) removed: Database<'static, Bytes, Unit>,
    pub(super) graph: hannoy::Database<'static, hannoy::distances::Cosine>,
}

/// A knowledge base's vectors of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) base: u128,
    pub(super) generation: u64,
    pub(super) number: u16,
    pub(super) organisation: u128,
    pub(super) dimensions: u32,
    pub(super) next_item: u32,
    /// Items below this one are in the graph, if they are anywhere.
    pub(super) built_below: u32,
    pub(super) live: u32,
}

impl Slot {
    pub(super) fn key(base: u128, generation: u64) -> [u8; 24] {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&base.to_be_bytes());
        key[16..].copy_from_slice(&generation.to_be_bytes());
        key
    }

    fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (base, generation) = key.split_first_chunk::<16>()?;
        let (number, rest) = value.split_first_chunk::<2>()?;
        let (organisation, rest) = rest.split_first_chunk::<16>()?;
        let (dimensions, rest) = rest.split_first_chunk::<4>()?;
        let (next_item, rest) = rest.split_first_chunk::<4>()?;
        let (built_below, live) = rest.split_first_chunk::<4>()?;
        Some(Self {
            base: u128::from_be_bytes(*base),
            generation: u64::from_be_bytes(generation.try_into().ok()?),
            number: u16::from_be_bytes(*number),
            organisation: u128::from_be_bytes(*organisation),
            dimensions: u32::from_be_bytes(*dimensions),
            next_item: u32::from_be_bytes(*next_item),
            built_below: u32::from_be_bytes(*built_below),
            live: u32::from_be_bytes(live.try_into().ok()?),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(34);
        value.extend(self.number.to_be_bytes());
        value.extend(self.organisation.to_be_bytes());
        for number in [self.dimensions, self.next_item, self.built_below, self.live] {
            value.extend(number.to_be_bytes());
        }
        value
    }
}

impl Tables {
    pub(super) fn slot(&self, txn: &RoTxn, base: u128, generation: u64) -> Result<Option<Slot>> {
        let key = Slot::key(base, generation);
        let Some(value) = self.slots.get(txn, &key)? else { return Ok(None) };
        Slot::decode(&key, value).map(Some).ok_or(Error::VectorEntry("slot"))
    }

    pub(super) fn all_slots(&self, txn: &RoTxn) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for entry in self.slots.iter(txn)? {
            let (key, value) = entry?;
            slots.push(Slot::decode(key, value).ok_or(Error::VectorEntry("slot"))?);
        }
        Ok(slots)
    }

    pub(super) fn save_slot(&self, txn: &mut RwTxn, slot: &Slot) -> Result<()> {
        Ok(self.slots.put(txn, &Slot::key(slot.base, slot.generation), &slot.encode())?)
    }

    /// The items of `source` in the slot `number`; of any source of its kind with `whole_kind`.
    pub(super) fn items_of(&self, txn: &RoTxn, number: u16, source: Source, whole_kind: bool) -> Result<Vec<u32>> {
        let prefix = source_key(number, source);
        let prefix = if whole_kind { &prefix[..3] } else { &prefix[..] };
        let mut items = Vec::new();
        for entry in self.by_source.remap_data_type::<DecodeIgnore>().prefix_iter(txn, prefix)? {
            let item = entry?.0.last_chunk::<4>().ok_or(Error::VectorEntry("source"))?;
            items.push(u32::from_be_bytes(*item));
        }
        Ok(items)
    }

    /// Removes one item from every table, and marks it when the graph still has it.
    pub(super) fn remove_item(&self, txn: &mut RwTxn, slot: &mut Slot, number: u32) -> Result<()> {
        let key = item_key(slot.number, number);
        let Some(value) = self.items.get(txn, &key)? else { return Ok(()) };
        let item = Item::decode(value).ok_or(Error::VectorEntry("item"))?;
        let (passage, source) = (item.passage, item.source);
        self.items.delete(txn, &key)?;
        self.by_passage.delete(txn, &passage_key(passage, slot.number))?;
        self.by_source.delete(txn, &source_item_key(slot.number, source, number))?;
        if number < slot.built_below {
            self.removed.put(txn, &key, &())?;
        }
        slot.live = slot.live.saturating_sub(1);
        Ok(())
    }
}

/// A stored vector and whose it is.
pub(super) struct Item<'a> {
    pub(super) passage: u128,
    pub(super) source: Source,
    pub(super) source_generation: u64,
    /// Little-endian numbers of a vector of length 1.
    pub(super) vector: &'a [u8],
}

impl<'a> Item<'a> {
    pub(super) fn decode(value: &'a [u8]) -> Option<Self> {
        let (passage, rest) = value.split_first_chunk::<16>()?;
        let (kind, rest) = rest.split_first()?;
        let (source, rest) = rest.split_first_chunk::<16>()?;
        let (generation, vector) = rest.split_first_chunk::<8>()?;
        Some(Self {
            passage: u128::from_be_bytes(*passage),
            source: Source::from_parts(u64::from(*kind), u128::from_be_bytes(*source)),
            source_generation: u64::from_be_bytes(*generation),
            vector,
        })
    }
}

pub(super) fn encode_item(passage: u128, source: Source, generation: u64, vector: &[f32]) -> Vec<u8> {
    let mut value = Vec::with_capacity(ITEM_HEADER + vector.len() * 4);
    value.extend(passage.to_be_bytes());
    value.extend(source_bytes(source));
    value.extend(generation.to_be_bytes());
    for number in vector {
        value.extend(number.to_le_bytes());
    }
    value
}

pub(super) fn item_key(slot: u16, item: u32) -> [u8; 6] {
    let mut key = [0; 6];
    key[..2].copy_from_slice(&slot.to_be_bytes());
    key[2..].copy_from_slice(&item.to_be_bytes());
    key
}

pub(super) fn passage_key(passage: u128, slot: u16) -> [u8; 18] {
    let mut key = [0; 18];
    key[..16].copy_from_slice(&passage.to_be_bytes());
    key[16..].copy_from_slice(&slot.to_be_bytes());
    key
}

fn source_bytes(source: Source) -> [u8; 17] {
    let (kind, id) = source.parts();
    let mut bytes = [0; 17];
    bytes[0] = u8::from(kind != 0);
    bytes[1..].copy_from_slice(&id.to_be_bytes());
    bytes
}

fn source_key(slot: u16, source: Source) -> [u8; 19] {
    let mut key = [0; 19];
    key[..2].copy_from_slice(&slot.to_be_bytes());
    key[2..].copy_from_slice(&source_bytes(source));
    key
}

pub(super) fn source_item_key(slot: u16, source: Source, item: u32) -> [u8; 23] {
    let mut key = [0; 23];
    key[..19].copy_from_slice(&source_key(slot, source));
    key[19..].copy_from_slice(&item.to_be_bytes());
    key
}
