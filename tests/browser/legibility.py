"""What can be computed of how well a page is read and used: contrast, labels, the order of the focus, its weight.

Contrast is that of WCAG 2.2, 1.4.3 (https://www.w3.org/TR/WCAG22/#contrast-minimum).
"""

from typing import Any

from playwright.async_api import Page

CONTRAST_MIN = 4.5
TRANSFERRED_BYTES_MAX = 100_000

# Every text that is shown, whose contrast with what lies behind it is too low. Colours are painted to be read, as they
# are written in many ways.
_LOW_CONTRAST = """(least) => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, bottom) => [0, 1, 2].map((i) => top[i] * top[3] + bottom[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), rgba('Canvas'));
  };
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ checkVisibilityCSS: true })) continue;
    const behind = ground(element);
    const [a, b] = [luminance(over(rgba(getComputedStyle(element).color), behind)), luminance(behind)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const text = walker.currentNode.data.trim().slice(0, 40);
    if (contrast < least) found.push(`${contrast.toFixed(2)} ${element.tagName}.${element.className}: ${text}`);
  }
  return found;
}"""

# What a person would meet on the page without knowing what it is.
_UNNAMED = """() => {
  const name = (e) => (e.getAttribute('aria-label') || e.title || e.textContent || '').trim();
  const shown = (e) => e.checkVisibility() && e.type !== 'hidden';
  const fields = [...document.querySelectorAll('input, select, textarea')].filter(shown)
    .filter((e) => !(e.labels?.length || e.getAttribute('aria-label')));
  const actions = [...document.querySelectorAll('a, button, summary')].filter(shown).filter((e) => !name(e));
  const headings = document.querySelectorAll('h1').length === 1 ? [] : ['not one h1'];
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  const twice = ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `id ${id} is there twice`);
  const dangling = [...document.querySelectorAll('[aria-labelledby], [aria-describedby], label[for]')]
    .flatMap((e) => ['aria-labelledby', 'aria-describedby', 'for'].flatMap((a) => (e.getAttribute(a) || '').split(' ')))
    .filter((id) => id && !document.getElementById(id)).map((id) => `nothing has the id ${id}`);
  return [...fields, ...actions].map((e) => e.outerHTML.slice(0, 120)).concat(headings, twice, dangling);
}"""

_FOCUSABLE = """() => {
  const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')]
    .filter((e) => e.checkVisibility({ checkVisibilityCSS: true }) && !e.disabled);
  all.forEach((e, index) => { e.dataset.place = index; });
  return all.length;
}"""
_FOCUSED = """() => {
  const e = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(e);
  return { place: Number(e.dataset.place ?? -1), seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1 };
}"""


async def low_contrast(page: Page) -> list[str]:
    """Return the texts on a page that have too little contrast."""
    found: list[str] = await page.evaluate(_LOW_CONTRAST, CONTRAST_MIN)
    return found


async def unnamed(page: Page) -> list[str]:
    """Return the fields without a label, the links and buttons without a name, and other holes in the structure."""
    found: list[str] = await page.evaluate(_UNNAMED)
    return found


async def focus_order(page: Page) -> tuple[list[int], int]:
    """Go through a page with the tabulator key: return the places, in the document, of what had the focus, and how many
    places there are. Fails where one cannot see that it has the focus.
    """
    count = int(await page.evaluate(_FOCUSABLE))
    await page.evaluate("() => { document.activeElement?.blur(); getSelection().removeAllRanges(); scrollTo(0, 0); }")
    places: list[int] = []
    while len(places) < count:
        await page.keyboard.press("Tab")
        focused: dict[str, Any] = await page.evaluate(_FOCUSED)
        if focused["place"] == -1:
            # A part that scrolls can be scrolled by keys, and the parts of a date take the focus one by one.
            continue
        if places and focused["place"] == places[-1]:
            continue
        assert focused["seen"], f"it cannot be seen that place {focused['place']} has the focus"
        places.append(focused["place"])
    return places, count


async def transferred_bytes(page: Page) -> int:
    """Return what came over the network for the page and all that belongs to it."""
    entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    return int(await page.evaluate(f"{entries}.reduce((sum, entry) => sum + entry.transferSize, 0)"))
