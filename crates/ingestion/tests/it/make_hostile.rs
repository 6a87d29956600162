//! Generators of hostile files. Sizes are scaled so that making them is quick; each is still far beyond what the
//! parser may allow.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::make_pdf::PdfFile;

/// An archive of the given members.
pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A Word document with this XML as its main part.
pub(crate) fn docx(document: &[u8]) -> Vec<u8> {
    archive(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", document)])
}

fn docx_text(before: &str, text: &str) -> Vec<u8> {
    docx(
        format!("{before}<w:document><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>").as_bytes(),
    )
}

pub(crate) fn bomb_docx(megabytes: usize) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
    writer.start_file("word/document.xml", options).unwrap();
    writer.write_all(b"<w:document><w:body><w:p><w:r><w:t>").unwrap();
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..megabytes {
        writer.write_all(&spaces).unwrap();
    }
    writer.write_all(b"</w:t></w:r></w:p></w:body></w:document>").unwrap();
    writer.finish().unwrap().into_inner()
}

pub(crate) fn attributes_docx() -> Vec<u8> {
    let attributes: String = (0..800_000).map(|number| format!(" a{number}=''")).collect();
    docx(format!("<w:document{attributes}/>").as_bytes())
}

pub(crate) fn namespaces_docx() -> Vec<u8> {
    let names: String = (0..1_000_000).map(|number| format!(" xmlns:n{number}='u'")).collect();
    docx(format!("<w:document{names}/>").as_bytes())
}

pub(crate) fn deep_docx() -> Vec<u8> {
    docx(format!("<w:document>{}", "<w:p>".repeat(200_000)).as_bytes())
}

pub(crate) fn laughing_docx() -> Vec<u8> {
    let mut entities = "<!ENTITY l0 'lol'>".to_owned();
    for level in 1..10 {
        let inner = format!("&l{};", level - 1).repeat(10);
        entities.push_str(&format!("<!ENTITY l{level} '{inner}'>"));
    }
    docx_text(&format!("<!DOCTYPE w:document [{entities}]>"), "&l9;")
}

pub(crate) fn external_entity_docx() -> Vec<u8> {
    let entities = "<!ENTITY f SYSTEM 'file:///etc/passwd'><!ENTITY h SYSTEM 'http://127.0.0.1:9/canary'>";
    docx_text(&format!("<!DOCTYPE w:document [{entities}]>"), "&f;&h;")
}

pub(crate) fn external_link_docx() -> Vec<u8> {
    let links = "<Relationships><Relationship Id='r1' Type='http://x/image' Target='http://127.0.0.1:9/canary' \
                 TargetMode='External'/></Relationships>";
    let document = "<w:document><w:body><w:p><w:r><w:t>可見文字</w:t></w:r><w:drawing><a:blip r:link='r1'/>\
                    </w:drawing></w:p></w:body></w:document>";
    archive(&[("word/document.xml", document.as_bytes()), ("word/_rels/document.xml.rels", links.as_bytes())])
}

pub(crate) fn slip_zip() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    writer.start_file("../../../tmp/parlance-slip", options).unwrap();
    writer.write_all(b"out").unwrap();
    writer.start_file("/tmp/parlance-slip", options).unwrap();
    writer.write_all(b"out").unwrap();
    writer.add_symlink("lnk", "/etc", options).unwrap();
    writer.start_file("lnk/x", options).unwrap();
    writer.finish().unwrap().into_inner()
}

pub(crate) fn many_zip() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for number in 0..100_000 {
        writer.start_file(number.to_string(), options).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An archive in an archive in an archive.
pub(crate) fn nested_zip() -> Vec<u8> {
    let mut inner = archive(&[("word/document.xml", &vec![b' '; 1 << 20])]);
    for _ in 0..20 {
        inner = archive(&[("word/document.xml", &inner)]);
    }
    inner
}

fn xlsx(sheet: &str) -> Vec<u8> {
    let workbook = "<workbook xmlns:r='http://schemas.openxmlformats.org/officeDocument/2006/relationships'><sheets>\
                    <sheet name='S' sheetId='1' r:id='rId1'/></sheets></workbook>";
    let links = "<Relationships><Relationship Id='rId1' \
                 Type='http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet' \
                 Target='worksheets/sheet1.xml'/></Relationships>";
    let root = "<Relationships><Relationship Id='rId1' \
                Type='http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument' \
                Target='xl/workbook.xml'/></Relationships>";
    archive(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", root.as_bytes()),
        ("xl/workbook.xml", workbook.as_bytes()),
        ("xl/_rels/workbook.xml.rels", links.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

pub(crate) fn far_xlsx() -> Vec<u8> {
    xlsx(
        "<worksheet><dimension ref='A1:XFD1048576'/><sheetData><row r='1'><c r='A1'><v>1</v></c></row>\
         <row r='1048576'><c r='XFD1048576'><v>2</v></c></row></sheetData></worksheet>",
    )
}

pub(crate) fn strings_xlsx() -> Vec<u8> {
    let workbook = "<workbook><sheets/></workbook>";
    let strings = format!("<sst count='1'><si><t>{}</t></si></sst>", " ".repeat(256 << 20));
    archive(&[("xl/workbook.xml", workbook.as_bytes()), ("xl/sharedStrings.xml", strings.as_bytes())])
}

pub(crate) fn repeating_ods() -> Vec<u8> {
    let content = "<office:document-content xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0' \
                   xmlns:table='urn:oasis:names:tc:opendocument:xmlns:table:1.0' \
                   xmlns:text='urn:oasis:names:tc:opendocument:xmlns:text:1.0'><office:body><office:spreadsheet>\
                   <table:table table:name='S'><table:table-row table:number-rows-repeated='1048576'>\
                   <table:table-cell office:value-type='string' table:number-columns-repeated='16384'>\
                   <text:p>x</text:p></table:table-cell></table:table-row></table:table></office:spreadsheet>\
                   </office:body></office:document-content>";
    archive(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content.as_bytes()),
        ("META-INF/manifest.xml", b"<manifest:manifest/>"),
    ])
}

/// Blows up every count and size field of the string table and the dimensions of a workbook.
pub(crate) fn false_counts_xls(workbook: &[u8]) -> Vec<u8> {
    let mut bytes = workbook.to_vec();
    for record in [[0xFC_u8, 0x00], [0x00, 0x02]] {
        for at in 0..bytes.len().saturating_sub(12) {
            if bytes[at..at + 2] == record && bytes[at + 3] < 0x20 {
                bytes[at + 4..at + 12].fill(0xFF);
            }
        }
    }
    bytes
}

pub(crate) fn nested_pdf() -> Vec<u8> {
    let mut file = PdfFile::default();
    file.add(format!("<< /Type /Catalog /Pages 2 0 R /X {}{} >>", "[".repeat(12_000), "]".repeat(12_000)));
    file.add("<< /Type /Pages /Kids [] /Count 0 >>");
    file.finish()
}

fn deflated(bytes: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..times {
        encoder.write_all(bytes).unwrap();
    }
    encoder.finish().unwrap()
}

pub(crate) fn twice_deflated_pdf() -> Vec<u8> {
    let once = deflated(&vec![b' '; 1 << 20], 512);
    let twice = deflated(&once, 1);
    let mut file = PdfFile::default();
    file.add("<< /Type /Catalog /Pages 2 0 R >>");
    file.add("<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    file.add("<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>");
    file.add_stream("/Filter [/FlateDecode /FlateDecode]", &twice);
    file.finish()
}

pub(crate) fn cyclic_pdf() -> Vec<u8> {
    let mut file = PdfFile::default();
    file.add("<< /Type /Catalog /Pages 2 0 R >>");
    file.add("<< /Type /Pages /Kids [2 0 R 3 0 R 2 0 R] /Count 3 >>");
    file.add("<< /Type /Pages /Parent 2 0 R /Kids [2 0 R 3 0 R] /Count 2 >>");
    file.finish()
}

/// A form that shows itself, twice.
pub(crate) fn form_cycle_pdf() -> Vec<u8> {
    let mut file = PdfFile::default();
    file.add("<< /Type /Catalog /Pages 2 0 R >>");
    file.add("<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    file.add("<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >> >>");
    file.add_stream("", b"/X Do");
    file.add_stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X 5 0 R >> >>",
        &b"/X Do /X Do /X Do /X Do /X Do /X Do /X Do /X Do ".repeat(50),
    );
    file.finish()
}

/// The header of a PNG image of 100 megapixels and a little of its data.
pub(crate) fn huge_png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&10_000_u32.to_be_bytes());
    png.extend_from_slice(&10_000_u32.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png.extend_from_slice(&deflated(&vec![0; 1 << 20], 30));
    png
}

pub(crate) fn wide_csv_big5() -> Vec<u8> {
    let cell = encoding_rs::BIG5.encode("中文,").0.into_owned();
    cell.repeat(10_000_000)
}

pub(crate) fn wide_csv_utf16() -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xFE];
    bytes.extend("甲,".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().repeat(10_000_000));
    bytes
}
