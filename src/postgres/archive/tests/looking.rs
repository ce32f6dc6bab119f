//! Reading the table of contents: choosing tables from it, printing it.

use std::collections::BTreeSet;

use crate::postgres::archive::schema::schema_sql;
use crate::postgres::archive::select::Selection;
use crate::postgres::archive::tests::sample::{Line, Writer};
use crate::postgres::archive::toc::{Head, Parsed, parse_head};

fn head(lines: &[Line]) -> Head {
    let mut writer = Writer::new(14, 4, 8);
    writer.int(lines.len() as u32);
    for line in lines {
        writer.entry(line);
    }
    match parse_head(&writer.out) {
        Parsed::Head(head) => *head,
        other => panic!("{other:?}"),
    }
}

fn line(id: u32, desc: &'static str, tag: &str, deps: &[u32]) -> Line {
    let defn = if desc == "TABLE DATA" { String::new() } else { format!("-- {desc} {tag}\n") };
    Line { id, desc, schema: "public".into(), tag: tag.into(), defn, deps: deps.to_vec(), ..Line::default() }
}

fn shop() -> Head {
    let other = Line { schema: "archive".into(), ..line(16, "TABLE", "orders", &[]) };
    head(&[
        line(1, "TABLE", "customers", &[]),
        line(2, "TABLE", "orders", &[]),
        line(3, "SEQUENCE", "orders_id_seq", &[2]),
        line(4, "SEQUENCE OWNED BY", "orders_id_seq", &[2, 3]),
        line(5, "DEFAULT", "orders id", &[2, 3]),
        line(6, "TABLE DATA", "orders", &[2]),
        line(7, "SEQUENCE SET", "orders_id_seq", &[3]),
        line(8, "CONSTRAINT", "orders orders_pkey", &[2]),
        line(9, "COMMENT", "CONSTRAINT orders_pkey ON orders", &[8]),
        line(10, "FK CONSTRAINT", "orders orders_customer_fkey", &[1, 2, 18]),
        line(11, "VIEW", "big_orders", &[2]),
        line(12, "TABLE", "orders_2026", &[]),
        line(13, "TABLE DATA", "orders_2026", &[12]),
        line(14, "TABLE ATTACH", "orders_2026", &[2, 12]),
        line(15, "ACL", "TABLE orders", &[2]),
        other,
        line(17, "INDEX", "orders_2026_idx", &[12]),
        line(18, "CONSTRAINT", "customers customers_pkey", &[1]),
        line(19, "DEFAULT", "copies id", &[3, 20]),
        line(20, "TABLE", "copies", &[]),
    ])
}

fn ids(ids: &[u32]) -> BTreeSet<u32> {
    ids.iter().copied().collect()
}

#[test]
fn a_table_comes_with_what_belongs_to_it() {
    let head = shop();
    let orders = Selection::of_tables(&head, &[(b"public", b"orders")]);
    assert_eq!(orders.dump_ids, ids(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17]));
    assert_eq!(orders.missing, [0usize; 0]);

    let customers = Selection::of_tables(&head, &[(b"public", b"customers"), (b"public", b"nothing")]);
    assert_eq!(customers.dump_ids, ids(&[1, 18]), "the foreign key is the other table's");
    assert_eq!(customers.missing, [1]);

    // One partition goes back into the table that is still there.
    let partition = Selection::of_tables(&head, &[(b"public", b"orders_2026")]);
    assert_eq!(partition.dump_ids, ids(&[12, 13, 14, 17]));
    assert_eq!(partition.use_list(&head), b"12;\n13;\n14;\n17;\n");

    let other_schema = Selection::of_tables(&head, &[(b"archive", b"orders")]);
    assert_eq!(other_schema.dump_ids, ids(&[16]));
}

#[test]
fn definitions_print_as_sql() {
    let encoding =
        Line { defn: "SET client_encoding = 'UTF8';\n".into(), ..line(1, "ENCODING", "ENCODING", &[]) };
    let odd = line(2, "TABLE", "two\nlines", &[]);
    let sql = schema_sql(&head(&[
        encoding,
        line(3, "ACL", "TABLE two", &[2]),
        odd,
        line(4, "TABLE DATA", "x", &[]),
    ]));
    let sql = String::from_utf8(sql).unwrap();
    assert!(sql.contains("\nSET client_encoding = 'UTF8';\n"), "{sql}");
    assert!(sql.contains("-- Name: two lines; Type: TABLE; Schema: public; Owner: postgres\n"), "{sql}");
    assert!(!sql.contains("TABLE DATA"), "{sql}");
    assert!(sql.find("Type: ACL") > sql.find("Type: TABLE;"), "privileges come last");
}
