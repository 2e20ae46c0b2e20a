"""What series descriptions say, in the languages of the scanners we meet.

Descriptions are free text. A word counts only when no letter touches it, so that
digits, underscores and brackets may.
"""

import re
from typing import Literal

Contrast = Literal["pre", "post"]

AGENT = r"(?:contrast\w*|kontrast\w*|kontrastu|gado\w*|gad|gd|km|mdc|civ|inj\w*|iv)"
GAP = r"[\s_./+-]*"


def _any(*words: str) -> re.Pattern[str]:
    joined = "|".join(words)
    return re.compile(rf"(?<![^\W\d_])(?:{joined})(?![^\W\d_])", re.IGNORECASE)


PRE = _any(
    rf"pre(?!{GAP}sat){GAP}{AGENT}?",
    rf"(?:before|without|w/?o|no|non|ohne|vor|sans|avant|sin|senza|prima|zonder|voor|"
    rf"sem|antes|utan|före|uden|før|bez|przed|до|без){GAP}(?:d[aei]l?|le|la|de)?{GAP}"
    rf"(?:{AGENT}|контраст\w*)",
    r"nati[vf][aeo]?|basale?|baseline|blan[ck]o|unenhanced|un-enhanced|mask",
    r"造影前|平扫|平掃|増強前|增强前",
)
AFTER = _any(
    rf"post{GAP}{AGENT}?",
    rf"(?:after|nach|apr[eèé]s|dopo|na|efter|po|после){GAP}"
    rf"(?:d[aei]l?|le|la|de|l')?{GAP}(?:{AGENT}|контраст\w*)",
    r"delay(?:ed)?|late|early|tardi[vfoa]e?",
    rf"(?:\d+(?:st|nd|rd|th)|first|second|third){GAP}pass",
    r"造影後|造影后|増強後|增强后",
)
"""Words for images taken after the contrast agent was given."""
WITH_AGENT = _any(
    rf"(?:with|w|mit|avec|con|met|com|med|\u0441){GAP}{AGENT}",
    r"c\+|enhanced|inject[eé]e?s?|inj|gad|gado\w*|gd|km|mdc",
    r"增强|増強|增強|造影",
)
"""Words for a contrast agent: after it, or a whole dynamic series with it."""
PLUS_AGENT = re.compile(rf"\+\s?(?:c|{AGENT})(?![^\W\d_])", re.IGNORECASE)
BREAST = re.compile(
    _any(
        r"breasts?|mamm?a\w*|mammo\w*|mamm?[ei]lla\w*|brust|br[uü]ste|seins?|senos?|"
        r"pechos?|borst(?:en)?|bröst\w*|bryst\w*|rint\w*|piers\w*|prs[uůy]?|emlő\w*|"
        r"meme|груд\w*|молочн\w*|dce"
    ).pattern
    + "|乳|유방",
    re.IGNORECASE,
)
"""Words for the breast in the description of a study."""
DYNAMIC = _any(
    r"dyn\w*|dce\w*|vibrant\w*|e?thrive\w*|multi-?phase\w*|dinami\w*|dynami\w*|"
    r"perf\w*|twist\w*|disco\w*|tricks\w*|phases?|ph|dixon\w*"
)
T1 = re.compile(
    r"t1|vibe|vibrant|thrive|fl3d|flash|spgr|fspgr|lava|tfe|quick|tigre", re.IGNORECASE
)

NOT_DCE = {
    "subtraction": _any(r"sub", r"subs?tra[ck]\w*", r"sott\w*", r"subt\w*"),
    "projection": _any(r"mip", r"mips", r"t?mip\w*", r"minip", r"proj\w*"),
    "localiser": _any(
        r"loc",
        r"locali[sz]\w*",
        r"lokali\w*",
        r"scout\w*",
        r"survey\w*",
        r"topogram\w*",
    ),
    "reformatted": _any(r"mpr", r"reformat\w*", r"rfmt", r"curved"),
    "diffusion": _any(r"dwi\w*", r"dti", r"adc\w*", r"diff\w*", r"trace\w*", r"epi"),
    "T2-weighted": _any(r"t2\w*", r"stir\w*", r"tirm\w*", r"haste", r"flair"),
    "map": _any(
        r"maps?",
        r"colou?r",
        r"wash\w*",
        r"pei",
        r"ttp",
        r"kinetic\w*",
        r"parametric\w*",
    ),
    "bolus timing": _any(
        rf"(?:test|care|track\w*){GAP}bolus", r"smart\s?prep", r"bolus\w*", r"timing"
    ),
    "calibration": _any(r"calib\w*", r"shim\w*", r"b1\w*", r"asset\w*", r"prescan"),
    "spectroscopy": _any(r"spectro\w*", r"mrs", r"csi", r"svs"),
    "fat or opposed-phase image": _any(
        rf"fat{GAP}only",
        r"opp(?:osed)?",
        rf"out{GAP}of{GAP}phase",
        rf"(?:dixon|ideal|flex)\w*?{GAP}(?:f|fat|opp)",
    ),
    "report": _any(r"report\w*", r"screen\w*", r"summary", r"phoenix\w*", r"cad\w*"),
}
"""Kind of series that is no phase of a DCE acquisition -> how its name says so."""


def contrast_word(description: str, *, is_dynamic: bool = False) -> Contrast | None:
    """Return what the description says of contrast; None when nothing or both.

    The name of an agent does not tell whether a dynamic series starts before it.
    """
    without_pre = PRE.sub(" ", description)
    before = without_pre != description
    after = bool(AFTER.search(without_pre))
    if not is_dynamic:
        named = WITH_AGENT.search(without_pre) or PLUS_AGENT.search(without_pre)
        after = after or bool(named)
    if before == after:
        return None
    return "pre" if before else "post"


def other_kind(description: str) -> str:
    """Return what else than a DCE phase the description names, empty when nothing."""
    for kind, words in NOT_DCE.items():
        if words.search(description) and not (
            kind == "T2-weighted" and T1.search(description)
        ):
            return kind
    return ""


def stem(description: str) -> str:
    """Return the letters that name the protocol, without phase words and numbers."""
    rest = description.lower()
    for words in (PRE, AFTER, WITH_AGENT, PLUS_AGENT):
        rest = words.sub(" ", rest)
    rest = re.sub(r"(?<![^\W\d_])ph(?:ase)?(?=[\W\d_])|\d+(?:st|nd|rd|th)?", " ", rest)
    return re.sub(r"[\W\d_]+", "", rest)
