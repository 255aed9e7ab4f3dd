"""Names and nouns that the tasks draw from."""

from assets.instructions.starter.wording import listed

SHE = listed(
    "Maya Elena Priya Ingrid Noor Amara Yuki Clara Fatima Rosa Hannah Leila Sofia Greta Nadia Wanda "
    "Beatriz Zoe Marta Anika Imani Helen Dalia Tamsin Carmen Lucia Oona Petra Ruth Sana"
)
HE = listed(
    "Tom Omar Jonas Kenji Luis Pavel Andre Samir Felix Hugo Mateo Nils Ravi Oscar Idris Leo Bruno Dmitri "
    "Kofi Arun Stefan Tariq Walter Marco Emil Victor Juan Pierre Theo Yusuf"
)
NAMES = tuple(name for pair in zip(SHE, HE, strict=True) for name in pair)
SURNAMES = listed(
    "Okafor Lindqvist Marsh Tanaka Novak Delgado Fischer Haddad Iyer Kowalski Larsen Mbeki Nguyen Orlov "
    "Pereira Quinn Rossi Sato Thornton Underhill Vasquez Weber Yilmaz Zhang Adler Brandt Castellano Dunmore"
)
WARES = listed(
    "notebook pencil candle mug scarf lamp puzzle novel umbrella kettle cushion bracelet poster blanket "
    "teapot "
    "lantern basket clock vase apron wallet hat backpack frame thermos yo-yo stapler ladle whistle jigsaw"
)
FOODS = listed(
    "apple pear muffin sandwich orange bagel peach cookie plum lemon mango carrot potato tomato doughnut "
    "pancake dumpling olive onion radish avocado pretzel scone apricot fig waffle tart"
)
THINGS = listed(
    "marble sticker stamp coin postcard seashell button badge card bead pebble ticket balloon crayon brick "
    "magnet feather acorn ribbon token leaflet photo tile key"
)
ANIMALS = listed(
    "otter heron badger falcon gecko lemur walrus ibex newt stork bison ferret marmot puffin toad wombat "
    "eagle orca adder yak hedgehog squirrel antelope donkey"
)
CONTAINERS = listed("box crate bag basket shelf tray jar drawer carton bin")
TOWNS = listed(
    "Alderby Brackwell Corvane Dunholt Elmsford Farrow Glenmoor Harwick Inverley Jarrow Kestrel Larkhill "
    "Merrow Northby Oakham Penrose Quillby Rosedale Stanmere Thornby Ulverton Westry Yarrow Zennor"
)
CITIES = listed(
    "Lisbon Oslo Nairobi Kyoto Quito Prague Tunis Seville Porto Hanoi Bergen Dakar Lima Riga Cairo Turin "
    "Ghent Bogota Athens Perth Vienna Accra Dublin Zagreb"
)
COLOURS = listed("red blue green yellow white black purple orange silver brown pink grey")
JOBS = listed(
    "nurse plumber baker pilot teacher florist carpenter editor chemist translator gardener librarian "
    "architect electrician tailor surveyor"
)
PLAIN_WORDS = listed(
    "window garden planet silver marble thunder basket pillow rocket candle forest island market bridge "
    "dragon lemon copper violin harbor meadow pepper tunnel walnut saddle cactus blanket magnet puddle "
    "lantern feather compass ribbon canyon velvet orchard pebble glacier saffron timber whisper anchor "
    "bamboo cobalt domino ember falcon goblet hazel igloo jigsaw kernel locket mosaic nectar oyster paddle "
    "quartz raven sextant turnip umbra vessel willow yonder zephyr acorn barley cinder dapple easel fathom"
)
WEEKDAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = listed("January February March April May June July August September October November December")
EVENTS = listed(
    "dentist appointment|book club|piano lesson|staff meeting|yoga class|film night|parents' evening|"
    "job interview|choir rehearsal|chess match|budget review|pottery workshop|garden tour|quiz night|"
    "vet visit|swimming lesson|science fair|board meeting|photo shoot|language class",
    "|",
)


def pronouns(name: str) -> dict[str, str]:
    """Slots for a person: `name`, `they` (she or he), `their`, `them`."""
    if name in SHE:
        return {"name": name, "they": "she", "their": "her", "them": "her"}
    return {"name": name, "they": "he", "their": "his", "them": "him"}
