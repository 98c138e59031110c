//! Boxes and points out of answers, and onto pictures.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use ocelli_image::boxes::{Convention, Located, Region, View, locate};
use ocelli_image::draw::draw;
use ocelli_image::{DecodeOptions, RgbImage, decode};

const VIEW: View = View {
    width: 2000,
    height: 500,
    resized_width: 1008,
    resized_height: 252,
};

fn rectangle(left: f64, top: f64, right: f64, bottom: f64) -> Region {
    Region::Box {
        left,
        top,
        right,
        bottom,
    }
}

fn regions(answer: &str, convention: Convention) -> Vec<Region> {
    locate(answer, convention, &VIEW)
        .into_iter()
        .map(|found| found.region)
        .collect()
}

#[test]
fn relative_boxes_become_pixels_of_the_displayed_picture() {
    let answer = "Here they are:\n```json\n[\n\t{\"bbox_2d\": [100, 200, 300, 400], \"label\": \"red \\\"A\\\"\"},\n\
        \t{\"label\": \"b\", \"bbox_2d\": [0, 0, 1000, 1000]}\n]\n```\nDone.";
    let found = locate(answer, Convention::Relative1000, &VIEW);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].label.as_deref(), Some("red \"A\""));
    assert_eq!(found[0].region, rectangle(200.0, 100.0, 600.0, 200.0));
    assert_eq!(found[1].label.as_deref(), Some("b"));
    assert_eq!(found[1].region, rectangle(0.0, 0.0, 2000.0, 500.0));
}

#[test]
fn absolute_boxes_are_scaled_from_the_resized_picture() {
    let answer = "[{\"bbox_2d\": [504, 126, 1008, 252], \"label\": \"x\"}]";
    let expected = [rectangle(1000.0, 250.0, 2000.0, 500.0)];
    assert_eq!(regions(answer, Convention::ResizedPixels), expected);
}

#[test]
fn tagged_boxes_points_and_quads_are_read_with_their_label() {
    let answer = "<|object_ref_start|>the cat<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>\
        <|box_start|>(500,500)<|box_end|> and <|object_ref_start|>text<|object_ref_end|>\
        <|quad_start|>(0,0),(10,0),(10,10),(0,10)<|quad_end|><|box_start|>(1,2),(3";
    let found = locate(answer, Convention::Tagged1000, &VIEW);
    let cat = |region| Located {
        label: Some("the cat".into()),
        region,
    };
    assert_eq!(found[0], cat(rectangle(200.0, 100.0, 600.0, 200.0)));
    assert_eq!(found[1], cat(Region::Point(1000.0, 250.0)));
    assert_eq!(found[2].label.as_deref(), Some("text"));
    assert_eq!(
        found[2].region,
        Region::Quad([(0.0, 0.0), (20.0, 0.0), (20.0, 5.0), (0.0, 5.0)])
    );
    assert_eq!(found.len(), 3, "the last box lacks its second corner");
}

#[test]
fn an_answer_cut_anywhere_keeps_the_complete_boxes() {
    let answer = "```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"a\"}, {\"bbox_2d\": [50, 60, 70, 80]}]";
    let first_ends = answer.find('}').unwrap();
    for cut in 0..answer.len() {
        let found = locate(&answer[..cut], Convention::Relative1000, &VIEW);
        if cut > first_ends {
            assert_eq!(found[0].label.as_deref(), Some("a"), "cut at {cut}");
        }
        for region in found.iter().map(|item| item.region) {
            // No number that lost its last digits may pass for a whole one.
            let whole = [
                rectangle(20.0, 10.0, 60.0, 20.0),
                rectangle(100.0, 30.0, 140.0, 40.0),
            ];
            assert!(whole.contains(&region), "{region:?}, cut at {cut}");
        }
    }
    assert_eq!(regions(answer, Convention::Relative1000).len(), 2);
}

#[test]
fn reversed_and_outlying_corners_are_put_right() {
    let answer = "{\"bbox_2d\": [900, 800, -50, 5e3]}";
    assert_eq!(
        regions(answer, Convention::Relative1000),
        [rectangle(0.0, 400.0, 1800.0, 500.0)]
    );
    assert_eq!(
        regions("{\"bbox_2d\": [1e999, 0, 1, 1]}", Convention::Relative1000),
        []
    );
}

#[test]
fn points_nested_lists_and_bare_lists_are_read() {
    let relative = |answer| regions(answer, Convention::Relative1000);
    let point = "[{\"point_2d\": [500, 500], \"label\": \"p\"}]";
    assert_eq!(relative(point), [Region::Point(1000.0, 250.0)]);
    let nested = "{\"objects\": [{\"bbox_2d\": [[0, 0, 10, 10], [20, 20, 30, 30]]}]}";
    assert_eq!(relative(nested).len(), 2);
    let expected = [rectangle(0.0, 0.0, 1000.0, 500.0)];
    assert_eq!(relative("The box is [0, 0, 500, 1000]."), expected);
    assert_eq!(relative("There are 3 cats, [1, 2]."), []);
}

#[test]
fn hostile_text_is_read_without_harm() {
    let deep = "{".repeat(100_000) + "\"bbox_2d\": [1, 2, 3, 4]";
    let texts = [
        deep.as_str(),
        "\"\\",
        "{\"bbox_2d\": [--, 1e, .]}",
        "\u{1f408}{\"label\": \"\\ud800\\u12",
        "<|box_start|>",
        "<|",
    ];
    let conventions = [
        Convention::Relative1000,
        Convention::ResizedPixels,
        Convention::Tagged1000,
    ];
    for (text, convention) in texts.iter().flat_map(|text| conventions.map(|c| (text, c))) {
        assert!(locate(text, convention, &VIEW).len() <= 1);
    }
}

#[test]
fn drawing_outlines_boxes_and_stays_inside_the_picture() {
    let mut image = RgbImage::filled(120, 80, [255; 3]).unwrap();
    let item = |label: Option<String>, region| Located { label, region };
    let quad = [(5.0, 5.0), (1e12, 5.0), (50.0, 50.0), (5.0, 50.0)];
    let located = [
        item(
            Some("cat \u{1f408}".into()),
            rectangle(10.0, 30.0, 60.0, 70.0),
        ),
        item(
            Some("x".repeat(500)),
            rectangle(-1e30, -5.0, 1e30, f64::NAN),
        ),
        item(None, Region::Point(119.0, 79.0)),
        item(None, Region::Quad(quad)),
    ];
    draw(&mut image, &located[..1]);
    let first_colour = Some([230, 25, 75]);
    assert_eq!(image.pixel(10, 50), first_colour, "left edge");
    assert_eq!(image.pixel(30, 50), Some([255; 3]), "inside");
    assert_eq!(image.pixel(11, 19), first_colour, "label plate");
    draw(&mut image, &located);
    let again = decode(&image.to_png().unwrap(), &DecodeOptions::default()).unwrap();
    assert_eq!(again.image, image);
}
