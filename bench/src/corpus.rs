//! Made-up product documentation in Traditional Chinese and some English, and questions that it answers.

use std::fmt::Write as _;

use crate::random::Random;

const PLACES: [&str; 16] = [
    "臺北", "新竹", "臺中", "高雄", "臺南", "花蓮", "桃園", "嘉義", "屏東", "宜蘭", "基隆", "苗栗", "彰化", "南投",
    "雲林", "臺東",
];
const UNITS: [&str; 12] = [
    "客戶服務處",
    "倉儲管理組",
    "資訊安全室",
    "維修中心",
    "採購部",
    "品質保證課",
    "教育訓練科",
    "法務室",
    "財務處",
    "研發部",
    "行銷企劃組",
    "人力資源處",
];
const PRODUCTS: [&str; 20] = [
    "空氣清淨機",
    "濾水器",
    "電動腳踏車",
    "無線路由器",
    "掃地機器人",
    "工業冷凍櫃",
    "智慧門鎖",
    "太陽能逆變器",
    "條碼掃描器",
    "血壓計",
    "投影機",
    "印表機",
    "除濕機",
    "咖啡機",
    "監視攝影機",
    "電梯控制器",
    "充電樁",
    "氣體偵測器",
    "鋼瓶調節閥",
    "輸送帶馬達",
];
const MATTERS: [&str; 12] = [
    "退貨申請",
    "保固登錄",
    "帳號停用",
    "零件更換",
    "發票補開",
    "到府安裝",
    "韌體更新",
    "資料備份",
    "定期保養",
    "異常通報",
    "權限審核",
    "運費計算",
];
const FILLERS: [&str; 16] = [
    "申請時請一併附上購買憑證與機身序號的照片，缺件者由承辦人員通知補正。",
    "逾期未補正的案件會自動結案，申請人可以重新送件，原有的排隊順序不予保留。",
    "若遇颱風或其他不可抗力因素，作業時間順延，並於官方網站公告最新的處理進度。",
    "主管核准後系統會寄出通知信，信中載明預計完成的日期與後續聯絡方式。",
    "使用者應避免將設備置於高溫、潮濕或陽光直射的環境，以免影響零件壽命。",
    "每次作業完成後，應由兩位同仁交叉檢查紀錄，並將結果登錄於管理系統。",
    "遠端支援無法排除故障時，將改派工程師前往現場，車馬費依距離分級計算。",
    "相關文件保存期限為五年，期滿後依個人資料保護的規定銷毀並留存紀錄。",
    "企業客戶得簽訂年度維護合約，合約期間享有優先派工與備品先行更換的服務。",
    "測試數據顯示，依照建議頻率保養的設備，其故障率約為未保養設備的三分之一。",
    "本項規定自公告日起生效，先前版本與本文牴觸之處，以本文的說明為準。",
    "夜間與例假日由值班人員受理緊急案件，一般諮詢則於次一工作日依序回覆。",
    "客戶如對處理結果有疑義，可以在收到通知後提出申覆，由另一單位重新審查。",
    "設備報廢前必須清除所有儲存內容，並由資訊人員簽名確認後才能移交回收廠商。",
    "新進人員須先完成線上課程與實機操作測驗，成績合格者始得單獨執行作業。",
    "統計資料每季彙整一次，內容包含案件數量、平均處理天數與客戶滿意度。",
];
const ENGLISH: [&str; 8] = [
    "Keep the unit upright for two hours before it is switched on for the first time.",
    "Replacement parts are shipped from the regional warehouse within three working days.",
    "The technician records the serial number and the firmware version in the maintenance log.",
    "Disconnect the power supply and wait until the status light is off before opening the cover.",
    "Requests that arrive after five in the afternoon are handled on the next working day.",
    "A signed delivery note is required for every return, whatever the reason for it.",
    "Calibration certificates are valid for twelve months and are renewed on request.",
    "Network settings can be restored from the configuration file that was exported earlier.",
];

/// A made-up remark of about sixty characters.
pub(crate) fn sentence(random: &mut Random) -> String {
    let (place, unit) = (random.pick(&PLACES), random.pick(&UNITS));
    let (product, matter) = (random.pick(&PRODUCTS), random.pick(&MATTERS));
    format!("{place}{unit}的{product}{matter}第 {} 號：{}", random.below(1_000_000), random.pick(&FILLERS))
}

/// A text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A question and the file that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) file: String,
}

/// Files and questions about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Corpus {
    pub(crate) documents: Vec<Document>,
    pub(crate) questions: Vec<Question>,
}

struct Fact {
    code: String,
    product: &'static str,
    place: &'static str,
    unit: &'static str,
    matter: &'static str,
    days: u64,
    months: u64,
    extension: u64,
    fee: u64,
}

impl Fact {
    fn new(random: &mut Random, number: u64) -> Self {
        let letters = ["PPR", "KX", "TZM", "AQ", "HVD", "SLN"];
        // The number makes the code unique; the letters make it look like one.
        let code = format!("{}-{}", random.pick(&letters), 1000 + number);
        Self {
            code,
            product: random.pick(&PRODUCTS),
            place: random.pick(&PLACES),
            unit: random.pick(&UNITS),
            matter: random.pick(&MATTERS),
            days: 2 + random.below(28),
            months: 6 + random.below(55),
            extension: 1000 + random.below(9000),
            fee: 50 * (1 + random.below(60)),
        }
    }

    fn chinese(&self) -> String {
        let Self { code, product, place, unit, matter, days, months, extension, fee } = self;
        format!(
            "{product}（型號 {code}）的{matter}由{place}{unit}負責，聯絡分機為 {extension}。\
             {code} 的保固期為 {months} 個月，{matter}須於 {days} 個工作天內完成，每件酌收處理費新臺幣 {fee} 元。"
        )
    }

    fn english(&self) -> String {
        let Self { code, product, days, months, extension, fee, .. } = self;
        format!(
            "Model {code} ({product}) has a warranty of {months} months. Service requests for {code} are closed within \
             {days} working days, the handling fee is TWD {fee}, and the desk answers at extension {extension}. "
        )
    }

    fn question(&self, random: &mut Random) -> String {
        let Self { code, product, place, unit, matter, .. } = self;
        match random.below(4) {
            0 => format!("{code} 的保固期是幾個月？"),
            1 => format!("{product} {code} 的{matter}要幾個工作天才能完成？"),
            2 => format!("{place}{unit}負責{product}（{code}）{matter}的聯絡分機是多少？"),
            _ => format!("What is the handling fee for model {code}?"),
        }
    }
}

/// One paragraph of 300 to 480 characters, so that no two of them fit into one passage of 500.
fn paragraph(random: &mut Random, fact: &Fact, english: bool) -> String {
    let mut text = if english { fact.english() } else { fact.chinese() };
    let mut characters = text.chars().count();
    let wanted = 300 + random.below(80);
    while characters < usize::try_from(wanted).unwrap_or_default() {
        let sentence = random.pick(if english { &ENGLISH } else { &FILLERS });
        text.push_str(sentence);
        characters += sentence.chars().count();
        if english {
            text.push(' ');
            characters += 1;
        }
    }
    text.trim_end().to_owned()
}

/// `files` files with 16 or 17 paragraphs in turn, every fifth of them English, and a question about each paragraph.
pub(crate) fn generate(seed: u64, files: usize) -> Corpus {
    let mut random = Random::new(seed);
    let mut corpus = Corpus { documents: Vec::with_capacity(files), questions: Vec::new() };
    let mut number = 0;
    for file in 0..files {
        let name = format!("handbook-{file:04}.txt");
        let mut text = String::new();
        for _ in 0..16 + file % 2 {
            number += 1;
            let fact = Fact::new(&mut random, number);
            let _infallible = write!(text, "{}\n\n", paragraph(&mut random, &fact, number % 5 == 0));
            corpus.questions.push(Question { text: fact.question(&mut random), file: name.clone() });
        }
        corpus.documents.push(Document { name, text });
    }
    // Questions about neighbouring paragraphs must not follow each other.
    for index in (1..corpus.questions.len()).rev() {
        let other = usize::try_from(random.below(index as u64 + 1)).unwrap_or_default();
        corpus.questions.swap(index, other);
    }
    corpus
}

/// `files` files of at least `characters` characters each, and not more than one paragraph above.
pub(crate) fn long_documents(seed: u64, files: usize, characters: usize) -> Vec<Document> {
    let mut random = Random::new(seed);
    let mut number = 0;
    let document = |file: usize| {
        let mut text = String::new();
        let mut length = 0;
        while length < characters {
            number += 1;
            let fact = Fact::new(&mut random, 100_000 + number);
            let paragraph = paragraph(&mut random, &fact, number % 5 == 0);
            length += paragraph.chars().count() + 2;
            let _infallible = write!(text, "{paragraph}\n\n");
        }
        Document { name: format!("archive-{file:04}.txt"), text }
    };
    (0..files).map(document).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_corpus() {
        assert_eq!(generate(1, 20), generate(1, 20));
        assert_ne!(generate(1, 20), generate(2, 20));
        assert_eq!(long_documents(1, 2, 1000), long_documents(1, 2, 1000));
    }

    #[test]
    fn two_hundred_files_are_3300_passages() {
        let corpus = generate(1, 200);
        let passages: Vec<usize> = corpus
            .documents
            .iter()
            .flat_map(|document| document.text.split("\n\n"))
            .map(|passage| passage.trim().chars().count())
            .filter(|characters| *characters > 0)
            .collect();
        assert_eq!(passages.len(), 3300);
        assert!(passages.iter().all(|characters| (251..500).contains(characters)));
        assert_eq!(corpus.questions.len(), 3300);
        let distinct: HashSet<&str> = corpus.questions.iter().map(|question| question.text.as_str()).collect();
        assert_eq!(distinct.len(), 3300);
    }

    #[test]
    fn questions_are_answered_by_their_file() {
        let corpus = generate(3, 10);
        for question in &corpus.questions {
            let is_code = |character: char| character.is_ascii_alphanumeric() || character == '-';
            let code = question.text.split(|character| !is_code(character)).find(|word| word.contains('-')).unwrap();
            let file = corpus.documents.iter().find(|document| document.text.contains(code)).unwrap();
            assert_eq!(file.name, question.file, "{}", question.text);
        }
    }

    #[test]
    fn long_documents_have_their_length() {
        for document in long_documents(5, 3, 20_000) {
            assert!((20_000..20_600).contains(&document.text.chars().count()));
        }
    }
}
