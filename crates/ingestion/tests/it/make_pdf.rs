//! Writes PDF files by hand, objects numbered from 1, so that tests control every byte.

/// A PDF file under construction.
#[derive(Default)]
pub(crate) struct PdfFile {
    objects: Vec<Vec<u8>>,
}

impl PdfFile {
    /// Adds an object and tells its number.
    pub(crate) fn add(&mut self, body: impl AsRef<[u8]>) -> usize {
        self.objects.push(body.as_ref().to_vec());
        self.objects.len()
    }

    pub(crate) fn add_stream(&mut self, entries: &str, content: &[u8]) -> usize {
        let mut body = format!("<< {entries} /Length {} >>\nstream\n", content.len()).into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\nendstream");
        self.add(body)
    }

    /// The finished file; object 1 must be the catalog.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut file = b"%PDF-1.7\n".to_vec();
        let mut offsets = Vec::new();
        for (index, object) in self.objects.iter().enumerate() {
            offsets.push(file.len());
            file.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
            file.extend_from_slice(object);
            file.extend_from_slice(b"\nendobj\n");
        }
        let start = file.len();
        file.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).as_bytes());
        for offset in &offsets {
            file.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
        }
        let size = offsets.len() + 1;
        file.extend_from_slice(
            format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").as_bytes(),
        );
        file
    }
}

/// Hexadecimal string of `text` in UTF-16, as the `UniCNS` character maps want it.
pub(crate) fn utf16_hex(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("{unit:04X}")).collect()
}

/// A PDF whose pages show the given lines in a CJK font that is not embedded.
pub(crate) fn cjk_pdf(cmap: &str, pages: &[Vec<String>], encode: impl Fn(&str) -> String) -> Vec<u8> {
    let mut file = PdfFile::default();
    file.add("<< /Type /Catalog /Pages 2 0 R >>");
    let kids: Vec<String> = (0..pages.len()).map(|index| format!("{} 0 R", 5 + 2 * index)).collect();
    file.add(format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()));
    file.add(format!(
        "<< /Type /Font /Subtype /Type0 /BaseFont /MSung-Light-{cmap} /Encoding /{cmap} /DescendantFonts [4 0 R] >>"
    ));
    file.add(
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /MSung-Light /DW 1000 /CIDSystemInfo \
         << /Registry (Adobe) /Ordering (CNS1) /Supplement 0 >> /FontDescriptor << /Type /FontDescriptor \
         /FontName /MSung-Light /Flags 6 /ItalicAngle 0 /Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 \
         /FontBBox [0 -120 1000 880] >> >>",
    );
    for lines in pages {
        let mut content = "BT /F1 12 Tf 18 TL 72 760 Td\n".to_owned();
        for line in lines {
            content.push_str(&format!("<{}> Tj T*\n", encode(line)));
        }
        content.push_str("ET");
        let number = file.objects.len() + 1;
        file.add(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> \
             /Contents {} 0 R >>",
            number + 1
        ));
        file.add_stream("", content.as_bytes());
    }
    file.finish()
}

/// The known sentence of a page of [`sixty_pages`].
pub(crate) fn sentence(page: usize) -> String {
    format!("第{page}頁的關鍵句：編號 KX-{:04} 的設備每年三月檢修一次。", page * 37)
}

/// Sixty pages of Traditional Chinese, each with its sentence and a few lines around it.
pub(crate) fn sixty_pages() -> Vec<Vec<String>> {
    (1..=60)
        .map(|page| {
            let mut lines: Vec<String> = (1..=12)
                .map(|line| format!("這是手冊第{page}頁第{line}行的說明文字，內容與設備的日常維護有關，"))
                .collect();
            lines.insert(6, sentence(page));
            lines
        })
        .collect()
}
