//! How common a term is in general, before any document has been seen.
//!
//! In a knowledge base with a handful of passages, document frequencies say little: 「請問」 and
//! 「保單」 may both occur once. The document frequency is therefore smoothed with an imagined
//! background collection, in which function words and characters are known to be frequent.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::analysis::TermKind;
use crate::fold::fold;

/// Characters that build questions and sentences rather than name things.
const FUNCTION_CHARACTERS: &str = "的了是在我你妳他她它牠們您這那哪有沒和與跟及或而且但就都也還又再很\
請問嗎呢吧啊喔哦呀什麼甚怎如何為誰幾多少可以能會要想該需應得地之其所於把被讓給對從到由向比若則\
因此則才只最更些個種樣時候後嘛啦欸想知道一不";

/// Words of two characters or more that are frequent in questions although their characters also
/// build other words.
const FUNCTION_PAIRS: &str = "請問 什麼 甚麼 怎麼 怎樣 如何 為何 為什 哪裡 哪些 哪個 哪一 多少 幾個 是否 可以 可不 不可 \
能否 能不 有沒 沒有 是不 應該 需要 想要 想知 知道 告訴 訴我 麼辦 麼樣 時候 的話 如果 我們 你們 他們 這個 那個 \
一個 一下 因為 所以 但是 或者 以及 還是 關於 對於 要怎 我要 我想 該怎 該如";

const ENGLISH: &str = "a about above after again all also am an and any are as at be because been before being below \
between both but by can cannot could did do does doing don down during each few for from further had has have having \
he her here hers him his how i if in into is it its just let like made many may me might more most much must my no nor \
not of off on once only or other our out over own please same shall she should so some such tell than that the their \
them then there these they this those through to too under until up use used using very was way we were what when \
where which while who whom why will with would you your s t re ve ll m d";

struct Lists {
    characters: HashSet<String>,
    pairs: HashSet<String>,
    words: HashSet<&'static str>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| Lists {
    characters: fold(FUNCTION_CHARACTERS).chars().map(String::from).collect(),
    pairs: fold(FUNCTION_PAIRS).split_whitespace().map(String::from).collect(),
    words: ENGLISH.split_whitespace().collect(),
});

/// The share of background passages that contain the folded `term`, 0..1.
///
/// The figures are orders of magnitude: a function word is in every other passage, a given content
/// character in a few of a hundred, a given pair or word in a few of a thousand.
pub(crate) fn background_share(term: &str, kind: TermKind) -> f64 {
    let lists = &*LISTS;
    match kind {
        TermKind::Character if lists.characters.contains(term) => 0.5,
        TermKind::Character => 0.03,
        TermKind::Pair if lists.pairs.contains(term) => 0.4,
        TermKind::Pair => {
            let mut buffer = [0; 4];
            let function = term.chars().filter(|c| lists.characters.contains(&*c.encode_utf8(&mut buffer))).count();
            match function {
                0 => 0.001,
                1 => 0.02,
                _ => 0.1,
            }
        }
        TermKind::Word | TermKind::Stem | TermKind::Part if lists.words.contains(term) => 0.5,
        TermKind::Word | TermKind::Stem | TermKind::Part => 0.004,
        TermKind::Code => 0.0005,
        TermKind::Gram => 0.01,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_words_are_more_common_than_things() {
        for (common, rare, kind) in [
            ("请问", "保单", TermKind::Pair),
            ("么退", "退货", TermKind::Pair),
            ("吗", "险", TermKind::Character),
            ("how", "battery", TermKind::Word),
        ] {
            assert!(background_share(common, kind) > 4.0 * background_share(rare, kind), "{common} {rare}");
        }
    }
}
