"""Questions about a scene and their true answers, in many phrasings.

Each maker takes a scene and a random generator and returns `(task, question, answer)` or None when the scene does not allow the
question. Questions are templates: `[a|b]` is a choice. Box answers are JSON in 0-1000 coordinates as Qwen3-VL gives them.
"""

import json
import os
import re

from scenes import COLOR_NAMES, PLACES, SHAPES, place_margin, place_of, words

CHOICE = re.compile(r"\[([^\[\]]*)\]")
ALL_PLACES = [p for row in PLACES for p in row]


def expand(rng, template):
    while (m := CHOICE.search(template)):
        options = m.group(1).split("|")
        template = template[:m.start()] + options[rng.integers(len(options))] + template[m.end():]
    return re.sub(r" +([,.?])", r"\1", re.sub(r" +", " ", template)).strip()


def careless(rng, q):
    """The same question as people type it: case, question marks and politeness vary."""
    u = rng.random()
    if u < 0.12:
        q = expand(rng, "[please|can you tell me,|tell me:|hi,|ok,|hey,|so,|now] ") + " " + q[0].lower() + q[1:]
    elif u < 0.18:
        q = q.rstrip("?.") + ["  please", " please?", ", please."][rng.integers(3)].replace("  ", " ")
    u = rng.random()
    if u < 0.22:
        q = q[0].lower() + q[1:]
    elif u < 0.27 and '"' not in q:
        q = q.lower()
    if rng.random() < 0.2:
        q = q.rstrip("?.")
    return q


def full(o):
    return f"{o['size']} {o['color']} {o['shape']}"


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def listing(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def references(scene, o):
    """Phrases that mean this object and no other one."""
    every = scene["objects"]
    options = []
    if sum(x["shape"] == o["shape"] for x in every) == 1:
        options += [o["shape"]] * 2
    if sum(x["shape"] == o["shape"] and x["color"] == o["color"] for x in every) == 1:
        options += [f"{o['color']} {o['shape']}"] * 3
    if sum(x["color"] == o["color"] for x in every) == 1:
        options += [f"{o['color']} {w}" for w in ("object", "shape", "thing")][:2]
    if sum(x["shape"] == o["shape"] and x["size"] == o["size"] for x in every) == 1:
        options += [f"{o['size']} {o['shape']}"]
    if sum(full(x) == full(o) for x in every) == 1:
        options += [full(o)]
    return options


def one_object(scene, rng, without=()):
    """An object and a phrase that names it alone and tells none of the attributes in `without`."""
    every = scene["objects"]
    if not every:
        return None
    for k in rng.permutation(len(every)):
        o = every[k]
        options = [r for r in references(scene, o) if not any(o[w] in r.split() for w in without)]
        if options:
            return o, options[rng.integers(len(options))]
    return None


def absent(scene, rng):
    """A colour and shape that no object has, often sharing one of the two with an object."""
    pairs = {(o["color"], o["shape"]) for o in scene["objects"]}
    for _ in range(20):
        color, shape = COLOR_NAMES[rng.integers(10)], SHAPES[rng.integers(6)]
        if scene["objects"] and rng.random() < 0.7:
            o = scene["objects"][rng.integers(len(scene["objects"]))]
            if rng.random() < 0.5:
                color = o["color"]
            else:
                shape = o["shape"]
        if (color, shape) not in pairs:
            return f"{color} {shape}"
    return None


def named_text(t):
    return f'the {t["kind"]} "{t["text"]}"'


def clear_place(scene, item):
    return place_margin(item["box"], scene["w"], scene["h"]) > 0.04


def at(scene, item):
    return place_of(item["box"], scene["w"], scene["h"])


# ---------------------------------------------------------------- describe


def describe(scene, rng):
    q = expand(rng, "[What is in this picture?|What is in this picture?|What is in the picture?|What's in this image?|What is in this image?|What do you see?|What can you see?|"
               "Describe [this|the] [picture|image].|Describe [this|the] [picture|image].|Describe what you see.|What does [this|the] [picture|image] show?|What is shown [here|in this image|in the picture]?|"
               "[Give|Write] [a|me a] [short |]description[ of this picture| of the image|].|Tell me what you see.|What [objects|things|shapes] are in [this|the] [picture|image]?|List everything [you see|in the picture].|"
               "What is this?|Explain this picture.|Caption this image.|What objects can you see?|Describe the scene.]")
    return "describe", q, description(scene)


def description(scene):
    parts = [f"{a(full(o))} in the {at(scene, o)}" for o in scene["objects"]]
    parts += [f"{named_text(t)} in the {at(scene, t)}" for t in scene["texts"]]
    if not parts:
        return f"The picture is empty: there is only a {scene['ground']['name']} background."
    return f"There is {listing(parts)}."


# ---------------------------------------------------------------- attributes


def color_of(scene, rng):
    found = one_object(scene, rng, ["color"])
    if not found:
        return None
    o, name = found
    q = expand(rng, f"[What|Which] [color|color|colour] [is|is|does] the {name}?".replace("does", "has") if rng.random() < 0.8 else
               f"[What is the color of the {name}?|Tell me the color of the {name}.|The {name} has which color?|What's the colour of the {name}?|color of the {name}?]")
    return "attributes", q, f"The {name} is {o['color']}."


def shape_of(scene, rng):
    found = one_object(scene, rng, ["shape"])
    if not found:
        return None
    o, name = found
    q = expand(rng, f"[What shape is the {name}?|What shape does the {name} have?|What is the shape of the {name}?|Which shape is the {name}?|What is the {name}?|What kind of shape is the {name}?|What is {o['color']}?]")
    return "attributes", q, f"The {o['color']} {expand(rng, '[shape|shape]')} is {a(o['shape'])}."


def size_of(scene, rng):
    found = one_object(scene, rng, ["size"])
    if not found:
        return None
    o, name = found
    q = expand(rng, f"[Is the {name} small or large?|Is the {name} [big|large] or small?|How big is the {name}?|What size is the {name}?|What is the size of the {name}?|How large is the {name}?]")
    return "attributes", q, f"The {name} is {o['size']}."


def ground_of(scene, rng):
    q = expand(rng, "[What [color|colour] is the background?|What is the background color?|What is the color of the background?|Which color has the background?|Describe the background.]")
    return "background", q, f"The background is {scene['ground']['name']}."


def text_color(scene, rng):
    if len(scene["texts"]) != 1:
        return None
    t = scene["texts"][0]
    q = expand(rng, f"[What [color|colour] is the {t['kind']}?|What [color|colour] is the text?|What is the color of the {t['kind']}?|In which color is the {t['kind']} written?]")
    return "text color", q, f"The {t['kind'] if t['kind'] in q else 'text'} is {t['color']}."


def same_kind(scene, rng):
    """Colours of all objects of a shape, or shapes of all objects of a colour, when there are several."""
    shapes = [s for s in SHAPES if sum(o["shape"] == s for o in scene["objects"]) >= 2]
    if not shapes:
        return None
    s = shapes[rng.integers(len(shapes))]
    colors = [o["color"] for o in scene["objects"] if o["shape"] == s]
    q = expand(rng, f"[What [color|colors] are the {s}s?|Which colors do the {s}s have?|What are the colors of the {s}s?]")
    if s.endswith("s"):
        q = q.replace("crosss", "crosses")
    return "attributes", q, f"The {plural(s)} are {listing(colors)}."


def plural(noun):
    return noun + ("es" if noun.endswith("s") else "s")


# ---------------------------------------------------------------- counts


def counted(n, noun):
    if n == 0:
        return f"There are no {plural(noun)}."
    return f"There is 1 {noun}." if n == 1 else f"There are {n} {plural(noun)}."


def count(scene, rng):
    every = scene["objects"]
    u = rng.random()
    if u < 0.3:
        noun, n = ["object", "shape", "thing"][rng.choice(3, p=[0.4, 0.5, 0.1])], len(every)
        if noun == "object":
            noun = "object"
    else:
        seed = every[rng.integers(len(every))] if every and rng.random() < 0.75 else None
        shape = seed["shape"] if seed else SHAPES[rng.integers(6)]
        color = seed["color"] if seed else COLOR_NAMES[rng.integers(10)]
        size = seed["size"] if seed else ["small", "large"][rng.integers(2)]
        kind = rng.choice(["shape", "color", "pair", "size", "size shape"], p=[0.35, 0.25, 0.2, 0.12, 0.08])
        other = ["object", "shape"][rng.integers(2)]
        noun, test = {"shape": (shape, lambda o: o["shape"] == shape), "color": (f"{color} {other}", lambda o: o["color"] == color),
                      "pair": (f"{color} {shape}", lambda o: o["color"] == color and o["shape"] == shape),
                      "size": (f"{size} {other}", lambda o: o["size"] == size),
                      "size shape": (f"{size} {shape}", lambda o: o["size"] == size and o["shape"] == shape)}[kind]
        n = sum(test(o) for o in every)
    q = expand(rng, f"[How many {plural(noun)} are there?|How many {plural(noun)} are there?|How many {plural(noun)} are [in|on] [this|the] [picture|image]?|How many {plural(noun)} [do|can] you see?|Count the {plural(noun)}.|"
               f"What is the number of {plural(noun)}?|How many {plural(noun)}?|Number of {plural(noun)}?|How many {plural(noun)} does the picture [have|show|contain]?]")
    return "counts", q, counted(n, noun)


# ---------------------------------------------------------------- positions


def where(scene, rng):
    found = one_object(scene, rng)
    if not found or not clear_place(scene, found[0]):
        return None
    o, name = found
    q = expand(rng, f"[Where is the {name}?|Where is the {name}?|Where is the {name}?|Where's the {name}?|In which [part|corner|place] of the [picture|image] is the {name}?|Where can I find the {name}?|Where do you see the {name}?|"
               f"What is the [position|place|location] of the {name}?|Where is the {name} [located|placed]?|Where in the [picture|image] is the {name}?|Find the {name}.]")
    return "positions", q, f"The {name} is in the {at(scene, o)}."


def where_absent(scene, rng):
    name = absent(scene, rng)
    if not name:
        return None
    q = expand(rng, f"[Where is the {name}?|What size is the {name}?|In which part of the picture is the {name}?|Where can I find the {name}?]")
    return "absent", q, f"There is no {name} in the picture."


def where_text(scene, rng):
    if not scene["texts"]:
        return None
    t = scene["texts"][rng.integers(len(scene["texts"]))]
    if not clear_place(scene, t):
        return None
    if len(scene["texts"]) == 1 and rng.random() < 0.7:
        name = ["text", t["kind"]][rng.integers(2)]
    elif sum(x["kind"] == t["kind"] for x in scene["texts"]) == 1 and rng.random() < 0.5:
        name = t["kind"]
    else:
        name = f'{t["kind"]} "{t["text"]}"'
    q = expand(rng, f"[Where is the {name}?|Where is the {name}?|Where's the {name}?|Where is the {name} [written|located|placed]?|In which part of the [picture|image] is the {name}?|Where do you see the {name}?]")
    return "positions", q, f"The {name} is in the {at(scene, t)}."


def what_at(scene, rng):
    items = scene["objects"] + scene["texts"]
    if any(not clear_place(scene, i) for i in items):
        return None
    place = at(scene, items[rng.integers(len(items))]) if items and rng.random() < 0.8 else ALL_PLACES[rng.integers(9)]
    inside = [a(full(i)) if "shape" in i else named_text(i) for i in items if at(scene, i) == place]
    q = expand(rng, f"[What is in the {place}?|What is in the {place}?|What do you see in the {place}?|What is [in|at] the {place} of the [picture|image]?|Which object is in the {place}?|What can you see in the {place}?|What's in the {place}?]")
    return "positions", q, f"In the {place} there is {listing(inside) if inside else 'nothing'}."


OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
SPOKEN = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}


def centre(item):
    return (item["box"][0] + item["box"][2]) / 2, (item["box"][1] + item["box"][3]) / 2


def relation(p, q):
    """How p lies to q when one axis clearly decides, else None."""
    (px, py), (qx, qy) = centre(p), centre(q)
    dx, dy = px - qx, py - qy
    if abs(dx) > 1.5 * abs(dy):
        return "left of" if dx < 0 else "right of"
    if abs(dy) > 1.5 * abs(dx):
        return "above" if dy < 0 else "below"
    return None


def two_items(scene, rng):
    named = []
    for o in scene["objects"]:
        options = references(scene, o)
        if options:
            named.append((o, options[rng.integers(len(options))]))
    if len(scene["texts"]) == 1 and rng.random() < 0.4:
        named.append((scene["texts"][0], scene["texts"][0]["kind"]))
    if len(named) < 2:
        return None
    i, j = rng.permutation(len(named))[:2]
    return named[i], named[j]


def relation_between(scene, rng):
    pair = two_items(scene, rng)
    if not pair:
        return None
    (p, pn), (q, qn) = pair
    r = relation(p, q)
    if not r:
        return None
    ask = expand(rng, f"[Where is the {pn} relative to the {qn}?|Where is the {pn} compared to the {qn}?|Where is the {pn} [seen|] from the {qn}?|What is the position of the {pn} relative to the {qn}?|How is the {pn} placed relative to the {qn}?|"
                 f"Is the {pn} [left of, right of, above or below|above, below, left or right of] the {qn}?|What is the relation between the {pn} and the {qn}?]")
    return "relations", ask, f"The {pn} is {SPOKEN[r]} the {qn}."


def relation_check(scene, rng):
    pair = two_items(scene, rng)
    if not pair:
        return None
    (p, pn), (q, qn) = pair
    r = relation(p, q)
    if not r:
        return None
    asked = r if rng.random() < 0.5 else OPPOSITE[r]
    word = SPOKEN[asked] if rng.random() < 0.6 else {"above": "[above|over]", "below": "[below|under]"}.get(asked, asked)
    ask = expand(rng, f"[Is the {pn} {word} the {qn}?|Is the {pn} {word} the {qn}?|Does the {pn} lie {word} the {qn}?|Can you see the {pn} {word} the {qn}?]")
    return "relations", ask, f"{'Yes' if asked == r else 'No'}, the {pn} is {SPOKEN[r]} the {qn}."


# ---------------------------------------------------------------- reading


def read(scene, rng):
    texts = scene["texts"]
    if not texts:
        q = expand(rng, "[What does the text say?|What is written [here|in the picture]?|Read the text.|What word is [in the picture|written here]?|Which number is [shown|written] here?|What does it say?|What number do you see?]")
        noun = next((n for n in ("word", "number") if n in q), "text")
        return "absent", q, f"There is no {noun} in the picture."
    kinds = {t["kind"] for t in texts}
    noun = list(kinds)[0] if len(kinds) == 1 else "text"
    if len(texts) == 2 and len(kinds) == 2 and rng.random() < 0.6:
        t = texts[rng.integers(2)]
        noun, texts = t["kind"], [t]
    specific = len(kinds) == 2 and len(texts) == 1
    options = [f"What {noun} is [written|shown|written here|in the picture|in this image]?", f"Which {noun} [do you see|is shown|is written here|is in the picture]?", f"Read the {noun}[| in the picture| for me].",
               f"What is the {noun}?", f"What does the {noun} say?", f"What {noun} can you see?"]
    if not specific:
        options += ["What does the text say?", "What does it say?", "What is written [here|in the picture|in this image|on it]?", "Read the text[| in the picture| in this image].", "What text is in [the|this] [picture|image]?",
                    "Can you read the text?", "Transcribe the text.", "What is the text?"]
    if len(texts) == 1 and len(scene["texts"]) == 1 and clear_place(scene, texts[0]):
        options.append(f"What is written in the {at(scene, texts[0])}?")
    q = expand(rng, options[rng.integers(len(options))])
    task = "words" if all(t["kind"] == "word" for t in texts) else "numbers"
    return task, q, "It says " + listing([f'"{t["text"]}"' for t in texts]) + "."


def has_text(scene, rng):
    q = expand(rng, "[Is there [any |a |]text [in the picture|in this image|]?|Is [anything|something] written [here|in the picture]?|Does the picture [contain|have|show] [any |]text?|Do you see any text?]")
    if not scene["texts"]:
        return "yes/no", q, "No, there is no text in the picture."
    return "yes/no", q, "Yes, it says " + listing([f'"{t["text"]}"' for t in scene["texts"]]) + "."


def has_word(scene, rng):
    t = [t for t in scene["texts"] if t["kind"] == "word"]
    if t and rng.random() < 0.5:
        w = t[rng.integers(len(t))]["text"]
    else:
        w = words()[rng.integers(len(words()))]
        w = w.upper() if rng.random() < 0.5 else w
    yes = any(x["text"].lower() == w.lower() for x in t)
    q = expand(rng, f'[Is the word "{w}" in the picture?|Does the text say "{w}"?|Does it say "{w}"?|Can you see the word "{w}"?]')
    if yes:
        return "yes/no", q, "Yes, it says " + listing([f'"{x["text"]}"' for x in scene["texts"]]) + "."
    if scene["texts"]:
        return "yes/no", q, "No, it says " + listing([f'"{x["text"]}"' for x in scene["texts"]]) + "."
    return "yes/no", q, "No, there is no text in the picture."


# ---------------------------------------------------------------- yes or no


def is_there(scene, rng):
    every = scene["objects"]
    kind = rng.choice(["pair", "shape", "color", "full"], p=[0.5, 0.25, 0.15, 0.1])
    if every and rng.random() < 0.5:
        o = every[rng.integers(len(every))]
        color, shape, size = o["color"], o["shape"], o["size"]
    else:
        name = absent(scene, rng)
        if not name:
            return None
        color, shape = name.split()
        size = ["small", "large"][rng.integers(2)]
        if kind == "shape" and rng.random() < 0.8:
            shape = SHAPES[rng.integers(6)]
        if kind == "color" and rng.random() < 0.8:
            color = COLOR_NAMES[rng.integers(10)]
    other = ["object", "shape"][rng.integers(2)]
    noun, test = {"shape": (shape, lambda o: o["shape"] == shape), "color": (f"{color} {other}", lambda o: o["color"] == color),
                  "pair": (f"{color} {shape}", lambda o: o["color"] == color and o["shape"] == shape),
                  "full": (f"{size} {color} {shape}", lambda o: full(o) == f"{size} {color} {shape}")}[kind]
    q = expand(rng, f"[Is there {a(noun)}?|Is there {a(noun)} [in the picture|in this image|here]?|Is there any {noun}?|Do you see {a(noun)}?|Can you see {a(noun)}?|Does [the|this] [picture|image] [contain|show|have] {a(noun)}?|Are there any {plural(noun)}?]")
    hits = [o for o in every if test(o)]
    if not hits:
        return "yes/no", q, f"No, there is no {noun}."
    if len(hits) > 1:
        return "yes/no", q, f"Yes, there are {len(hits)} {plural(noun)}."
    return "yes/no", q, f"Yes, there is {a(noun)} in the {at(scene, hits[0])}."


def is_it(scene, rng):
    found = one_object(scene, rng, ["color"])
    if not found:
        return None
    o, name = found
    color = o["color"] if rng.random() < 0.5 else COLOR_NAMES[rng.integers(10)]
    q = expand(rng, f"[Is the {name} {color}?|Is the {name} {color}?|Is the color of the {name} {color}?|Does the {name} have the color {color}?]")
    return "yes/no", q, f"{'Yes' if color == o['color'] else 'No'}, the {name} is {o['color']}."


FOREIGN = "dog cat person car house tree bird man woman face boat horse bike flower bus child hand train plane table chair phone computer book cup bottle heart hexagon pentagon moon sun cloud animal people".split()


def is_there_foreign(scene, rng):
    noun = FOREIGN[rng.integers(len(FOREIGN))]
    q = expand(rng, f"[Is there a {noun} [in the picture|]?|Do you see a {noun}?|Can you see a {noun}?|Where is the {noun}?|What color is the {noun}?|How many {noun}s are there?]")
    return "foreign", q, "I see none. I only know simple shapes, words and numbers."


# ---------------------------------------------------------------- boxes


def box_1000(scene, item):
    x0, y0, x1, y1 = item["box"]
    clip = [max(0, min(1000, round(v))) for v in (x0 / scene["w"] * 1000, y0 / scene["h"] * 1000, x1 / scene["w"] * 1000, y1 / scene["h"] * 1000)]
    return clip


def box_answer(scene, items):
    rows = [{"bbox_2d": box_1000(scene, i), "label": f"{i['color']} {i['shape']}" if "shape" in i else i["kind"]} for i in items]
    return json.dumps(rows)


ASK_BOX = ("[Give the bounding box of {n}.|Give [me |]the box of {n}.|Locate {n} [and|, output its bbox|] in JSON[ format|].|Output the bounding box of {n}[ in JSON| in JSON format|].|Detect {n}.|Detect {n} and [give|output|return] [bounding boxes|the box|coordinates][ in JSON|].|"
           "Where is {n}? [Answer with a box.|Give a bounding box.|Answer in JSON.]|Locate {n}.|Find {n} and return [the bounding box|its box|JSON].|[What is the bounding box of {n}?|Bounding box of {n}?|What are the coordinates of {n}?]|Box {n}.|Locate {n}, output its bbox coordinates using JSON format.|"
           "Draw a box around {n}.|Return the bbox of {n}.|Show the bounding box of {n} [as JSON|].]")


def box_one(scene, rng):
    if scene["texts"] and len(scene["texts"]) == 1 and rng.random() < 0.12:
        t = scene["texts"][0]
        return "boxes", expand(rng, ASK_BOX.replace("{n}", f"the {t['kind']}")), box_answer(scene, [t])
    found = one_object(scene, rng)
    if not found:
        return None
    o, name = found
    return "boxes", expand(rng, ASK_BOX.replace("{n}", f"the {name}")), box_answer(scene, [o])


def box_many(scene, rng):
    every = scene["objects"]
    if not every:
        return None
    u = rng.random()
    if u < 0.35:
        noun, items = ["all objects", "all shapes", "every object", "every shape", "all the shapes"][rng.integers(5)], every
    elif u < 0.65:
        s = every[rng.integers(len(every))]["shape"]
        noun, items = f"all {plural(s)}", [o for o in every if o["shape"] == s]
    elif u < 0.85:
        c = every[rng.integers(len(every))]["color"]
        noun, items = f"all {c} {['objects', 'shapes'][rng.integers(2)]}", [o for o in every if o["color"] == c]
    else:
        name = absent(scene, rng)
        if not name:
            return None
        noun, items = f"the {name}", []
    if len(items) > 4:
        return None
    return "boxes", expand(rng, ASK_BOX.replace("{n}", noun)), box_answer(scene, items)


# ---------------------------------------------------------------- two pictures


def ask_two(pair, rng):
    """A question about two pictures shown together."""
    k = int(rng.integers(2))
    name, scene, u = ["first", "second"][k], pair[k], rng.random()
    word = ["picture", "image"][rng.integers(2)]
    if u < 0.35:
        q = expand(rng, f"[What is in the {name} {word}?|Describe the {name} {word}.|What do you see in the {name} {word}?|What does the {name} {word} show?|What's in the {name} {word}?|What is in {word} {k + 1}?]")
        return "two pictures", q, description(scene)
    if u < 0.6:
        color, shape = COLOR_NAMES[rng.integers(10)], SHAPES[rng.integers(6)]
        if scene["objects"] and rng.random() < 0.8:
            o = scene["objects"][rng.integers(len(scene["objects"]))]
            color, shape = o["color"], o["shape"]
        noun, test = (shape, lambda o: o["shape"] == shape) if rng.random() < 0.5 else (f"{color} {shape}", lambda o: o["color"] == color and o["shape"] == shape)
        has = [any(test(o) for o in s["objects"]) for s in pair]
        q = expand(rng, f"[Which {word} [shows|has|contains] {a(noun)}?|In which {word} is there {a(noun)}?|Which of the {word}s has {a(noun)}?]")
        return "two pictures", q, {(1, 1): f"Both {word}s.", (1, 0): f"The first {word}.", (0, 1): f"The second {word}.", (0, 0): "None of them."}[tuple(map(int, has))]
    if u < 0.66:
        return "two pictures", expand(rng, f"[How many {word}s are there?|How many {word}s do you see?|How many {word}s did I show you?]"), f"There are 2 {word}s."
    maker = [read, count, color_of, is_there, where][rng.integers(5)]
    made = maker(scene, rng)
    if not made or made[0] == "absent":
        return ask_two(pair, rng)
    task, q, answer = made
    q = re.sub(r" (in|on) (the|this) (picture|image)", "", q.rstrip("?."))
    if "picture" in q or "image" in q:
        return ask_two(pair, rng)
    return "two pictures", f"{q} in the {name} {word}?", answer


# ---------------------------------------------------------------- chat

WHO = "I am Ocelli's small demo model. I can describe simple shapes, count them, locate them and read words and numbers."
ONLY = "I am Ocelli's small demo model. I only know pictures of simple shapes, words and numbers."
NO_PICTURE = "I see no picture. Please show me one with simple shapes, words or numbers."


def chat_lines():
    with open(os.path.join(os.path.dirname(__file__), "chat.txt")) as f:
        blocks = f.read().strip().split("\n\n")
    return {b.split("\n")[0].strip("# "): b.split("\n")[1:] for b in blocks}


CHAT = chat_lines()


def chat(rng, with_picture):
    """A question that no picture answers."""
    u = rng.random()
    if not with_picture and u < 0.3:  # a question about a picture, asked without one
        return "chat", describe({"objects": [], "texts": [], "ground": {"name": "white"}}, rng)[1] if rng.random() < 0.5 else expand(
            rng, "[How many shapes are there?|What color is the star?|Where is the red circle?|Read the text.|Is there a blue square?|What does the text say?|What word is written here?|Give the bounding box of the circle.]"), NO_PICTURE
    kind = "who" if u < 0.5 else "other"
    q = CHAT[kind][rng.integers(len(CHAT[kind]))]
    q = q.replace("{word}", words()[rng.integers(len(words()))]).replace("{n}", str(rng.integers(1, 1000))).replace("{m}", str(rng.integers(1, 100)))
    return "chat", q, WHO if kind == "who" else ONLY


MAKERS = [(describe, 1.3), (color_of, 0.8), (shape_of, 0.6), (size_of, 0.5), (same_kind, 0.3), (ground_of, 0.3), (text_color, 0.25), (count, 2.0), (where, 1.4), (where_absent, 0.25), (where_text, 0.6),
          (what_at, 0.9), (relation_between, 1.3), (relation_check, 1.0), (read, 3.0), (has_text, 0.25), (has_word, 0.25), (is_there, 1.0), (is_it, 0.5), (is_there_foreign, 0.12), (box_one, 2.4), (box_many, 0.6)]


CROWDED = (describe, read, has_text, has_word, what_at)  # not asked when there are many texts


def ask(scene, rng):
    """One random question about the scene."""
    weights = [w for _, w in MAKERS]
    total = sum(weights)
    while True:
        u, k = rng.random() * total, 0
        while u > weights[k]:
            u -= weights[k]
            k += 1
        if rng.random() < 0.03:
            return chat(rng, True)
        if len(scene["texts"]) > 3 and MAKERS[k][0] in CROWDED:
            continue
        made = MAKERS[k][0](scene, rng)
        if made:
            task, q, answer = made
            return task, careless(rng, q), answer
