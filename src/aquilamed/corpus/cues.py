"""The cues of adverts, media residue, navigation and broken encodings, and how many of them condemn a text.

A cue set holds kinds of cues. One kind alone proves little (a clinic's number stands in good advice too), so a set
speaks when several kinds meet, and only when they are dense enough not to be an accident of a long text.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CueSet:
    """Kinds of cues (patterns) and when they condemn a text.

    Args:
        kinds: name of a kind → its pattern, case-insensitive.
        least: (kinds, cues, cues per 100 tokens) that must all be reached; any of these conditions suffices.
    """

    kinds: dict[str, str]
    least: tuple[tuple[int, int, float], ...]

    def possible(self, at_most: Mapping[str, int], tokens: int) -> bool:
        """Whether a text of so many tokens could be condemned when each kind has at most so many cues."""
        count = sum(at_most.values())
        density = 100 * count / max(tokens, 1)
        return any(len(at_most) >= k and count >= n and density >= d for k, n, d in self.least)

    def __call__(self, text: str, tokens: int, kinds: Iterable[str] | None = None) -> str | None:
        """A detail sentence when the cues (of some kinds only) condemn a text of so many tokens."""
        found: dict[str, list[str]] = {}
        for kind in self.kinds if kinds is None else kinds:
            if hits := [m[0] for m in re.finditer(self.kinds[kind], text, re.IGNORECASE)]:
                found[kind] = hits
        count = sum(map(len, found.values()))
        density = 100 * count / max(tokens, 1)
        if not self.possible({kind: len(hits) for kind, hits in found.items()}, tokens):
            return None
        shown = ", ".join(f"{kind} ({hits[0].strip()[:30]!r})" for kind, hits in found.items())
        return f"{count} cues of {len(found)} kinds, {density:.1f} per 100 tokens: {shown}"


ADVERT = CueSet(
    {
        "hotline": r"(?:咨询|服务|预约|订购|健康|免费|全国)(?:热线|专线)|热线电话|热线[:：]|免费咨询|来电(?:咨询|预约|订购)|(?:咨询|订购|预约)电话|拨打.{0,8}\d{5,}|(?:电话|手机|热线)[^\n。]{0,8}(?:400|1[3-9]\d)[-\d]{7,}",
        "chat": r"(?:加|添加|关注).{0,8}(?:微信|威信|薇信|VX|QQ|公众号)|(?:微信|威信|薇信|QQ)(?:号|群)?\s*[:：]?\s*[A-Za-z0-9_\-]{5,}|扫(?:一扫|描)?.{0,6}二维码|扫码|vx\s*[:：]\s*\w+",
        "discount": r"优惠|特价|特惠|打折|\d折|限时|限量|抢购|秒杀|买[一二三1-3]送[一二三1-3]|立减|包邮|免费(?:领取|试用|体验|赠送)|原价|仅需\s*\d+|只要\s*\d+\s*元|货到付款|促销|大酬宾|折扣|优惠券|满减|[半五]折|周年庆|仅剩|库存告急|送完为止|大礼包|免运费",
        "order": r"立即(?:购买|下单|抢购|预约|订购|咨询|拨打)|点击.{0,6}(?:购买|咨询|下单|链接|领取|预约|这里)|(?:在线|马上|赶快|火速|快速)(?:预约|咨询|订购|抢购|行动)|下单|欢迎(?:选购|订购|来电|咨询|加盟)|(?:淘宝|天猫|京东|官方).{0,3}旗舰店|名额有限|先到先得|专卖店|加入购物车|手慢无|心动不如行动|错过(?:再|就)|按钮|转发.{0,8}(?:朋友圈|集)|领取.{0,6}(?:券|礼)",
        "promise": r"无效退款|包治|包好|祖传|秘方|百分之百|(?:治愈|有效)率(?:高达|达)|药到病除|不(?:再|会)?反弹|无任何副作用|零副作用|绝不复发|永不复发|国家专利|全国首家|指定医院|见效快|彻底(?:根治|告别)|告别.{0,8}烦恼|全额退款|绝对没有.{0,4}副作用|纯天然|(?:疗程|签约).{0,6}(?:见效|根治|包)|回头客|好评如潮|亲身见证|口碑|不节食|防伪",
        "call_en": r"\bcall (?:us |now|today|toll)|toll[- ]free|\b1-8(?:00|88|77|66)-|hotline|\bwhatsapp\b",
        "click_en": r"\bclick (?:here|now|the link|below)|\b(?:buy|order|shop|book|enroll|register) (?:now|today|online)|add to cart|visit our (?:web ?site|store|shop)|sign up (?:now|today|for)|subscribe (?:now|today|to)|order [^.!?]{0,30} (?:now|today)!|to your (?:basket|cart)|online shop|official [^.!?]{0,20}store|claim your|ships? worldwide",
        "offer_en": r"\b\d{1,2} ?% off|limited[- ]time|special (?:offer|price|discount)|\bdiscount|\bcoupon|promo code|free (?:shipping|trial|sample|consultation|bonus)|while supplies last|act now|hurry|best price|lowest price|only \$ ?\d+|on sale|for just \$|half price|\bsale!|buy (?:one|two|three|\d),? get|instal?ments|offer ends|boxes left|limited release|back in stock|surprise gift|\bcode [A-Z]{2,}\d",
        "promise_en": r"money[- ]back|satisfaction guaranteed|100 ?% (?:guaranteed|natural|effective|satisfaction)|miracle (?:cure|pill|supplement|product)|doctors hate|guaranteed results|risk[- ]free|no side effects|clinically proven formula|amazing results|satisfied customers|happy buyers|free of side effects|(?:no diet|no exercise)[, ]|lose up to|change your life|rated five stars|\bguaranteed[.!]|celebrities|as seen on (?:tv|television)",
    },
    ((3, 3, 1.0), (2, 3, 3.0)),
)
MEDIA = CueSet(
    {
        "timestamp": r"\d\d:\d\d:\d\d[,.]\d{3} ?-->|\[[0-9]{1,2}:\d\d(?::\d\d)?(?:\.\d+)?\]|(?m:^\s*\d{1,2}:[0-9][0-9](?::\d\d)? )",
        "sound": r"[\[(【（](?:music|applause|laughter|音乐|掌声|笑声|背景音乐|片头曲)[^\])】）]{0,10}[\])】）]",
        "file": r"\b(?:IMG|DSC|MVI|VID|screenshot)[_-]?[0-9]\d{2,}|[\w/-]{0,40}\.(?:jpe?g|png|gif|psd|mp4|avi|mov|webp)\b",
        "placeholder": r"[\[【（(<](?:图片|image|img|photo|picture|video|视频|插图|配图|图)[^\]】）)>\n]{0,30}[\]】）)>]|图片加载中|视频加载|点击(?:播放|查看大图|放大)|查看大图|click to (?:enlarge|play)|video player|播放视频",
        "credit": r"字幕(?:组|制作|由)|图片来源|图源[:：]|(?:image|photo) (?:source|credit|courtesy)|getty images|shutterstock|视觉中国|subtitles? by|amara\.org|水印|watermark",
        "editing": r"转场|剪辑|关键帧|时间轴|图层|蒙版|抠图|滤镜|p图|调色|导出设置|特写镜头|镜头(?:切换|一|二|三|推近|拉远)|画外音|旁白|片头|片尾|fade (?:in|out)|cut to:|b-roll|keyframe|layer mask|photoshop|premiere|after effects|final cut|render settings|export settings|voice ?over|color grading|close-up shot",
        "plea": r"一键三连|点赞.{0,6}(?:关注|收藏|转发|投币)|关注.{0,6}(?:频道|主页|点赞)|弹幕|下期(?:视频|节目)|like and subscribe|hit the (?:like|bell)|smash (?:that|the) like|in (?:today's|this) video|thanks for watching|subscribe to (?:my|our|the) channel",
    },
    ((2, 3, 1.0), (1, 4, 4.0), (3, 3, 0.5)),
)
NAVIGATION = CueSet(
    {
        "home": r"网站首页|返回(?:首页|顶部)|首页\s*[>|»｜]|当前位置[:：]|您(?:现在)?的位置[:：]|\bhome\s*[>|»]|skip to (?:main )?content|back to top|breadcrumb",
        "page": r"上一[页篇]|下一[页篇]|尾页|\bnext page|previous page|\bread more\b|load more|阅读(?:全文|原文)|展开全文|点击阅读|相关(?:阅读|推荐|文章|链接)|猜你喜欢|热门(?:文章|标签|推荐)|related (?:articles|posts)|recent posts|table of contents",
        "account": r"(?:用户)?登[录陆]|注册|忘记密码|我的账户|购物车|\blog ?in\b|\bsign (?:in|up)\b|my account|forgot (?:your )?password|shopping cart|newsletter",
        "notice": r"版权所有|ICP备|京公网安备|免责声明|all rights reserved|copyright ©|©\s*\d{4}|terms (?:of (?:use|service)|and conditions)|privacy policy|cookie (?:policy|settings|preferences)|uses? cookies|accept (?:all )?cookies|enable javascript|lorem ipsum|page not found|404 (?:error|not found)",
        "site": r"网站地图|联系我们|关于我们|加入收藏|设为首页|友情链接|广告服务|招聘信息|\bsite ?map\b|contact us|about us|advertise with us|careers|\bFAQs?\s*\|",
        "share": r"分享到|收藏本[站页]|打印本页|转发到|share (?:on|this|via)|tweet this|print this page|follow us|facebook\s*[|,]?\s*twitter|微博\s*[|｜]?\s*微信",
    },
    ((3, 4, 3.0), (2, 5, 6.0), (4, 5, 1.5)),
)
MOJIBAKE = CueSet(
    {
        "replacement": "\ufffd|锟斤拷|烫烫烫|屯屯屯",
        # UTF-8 read as GBK: these characters stand for the most frequent Chinese bytes and are rare in real text.
        "utf8_as_gbk": "[锛銆鐨鍦鏄鍜娴鍙鑰鎴鎵浠涓绗閫璇鐥鍖绠鍒杩]{2,}|[锛銆鐨鍜鍙鎵]",
        # UTF-8 read as Latin-1 or Windows-1252.
        "utf8_as_latin": "[\u00c2-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€.",
        # GBK read as Latin-1: pairs of letters that no Western language writes.
        "gbk_as_latin": "(?:[\u00b0-\u00f7][\u00a1-\u00fe]){3,}",
    },
    ((1, 3, 1.0),),
)
SUSPECT = "[\u00b0-\u00f7\ufffd€锟斤拷烫屯锛銆鐨鍦鏄鍜娴鍙鑰鎴鎵浠涓绗閫璇鐥鍖绠鍒杩]"
"""A character of this class stands in every match of the kinds of MOJIBAKE."""
