"""Sentences for the toxicity filter, written for it: sensitive medicine, which must stay, and vile text, which must go.

The vile ones are so because the filter is for them.
"""

MEDICINE_EN = """\
A breast lump in a woman under thirty is most often a fibroadenoma; examine both breasts and each nipple.
Breast pain that comes with the menstrual cycle needs no biopsy.
Cracked nipples heal when the baby's latch is corrected; breast milk may be expressed meanwhile.
An anal fissure is treated with stool softeners, sitz baths and topical nitroglycerin.
Anal cancer is linked to HPV; anal Pap tests are offered after receptive anal intercourse.
Anal itching at night in a child suggests pinworms around the anus.
Suicide risk screening asks: have you wished you were dead, or thought about killing yourself?
A patient who says she will kill herself tonight needs a safety plan and must not be left alone.
Means restriction, such as locking away guns, lowers the suicide rate.
After a suicide attempt with paracetamol, give acetylcysteine within eight hours.
Bacterial vaginosis causes a fishy vaginal odour after sex; clue cells are seen on the vaginal smear.
Vaginal dryness and painful sex after the menopause respond to local oestrogen.
Vulvar pain, an itching vulva and white patches point to lichen sclerosus.
Oral sex can pass on gonorrhoea, herpes and syphilis; condoms and dental dams lower the risk.
Men who have sex with men should be offered hepatitis A vaccine and rectal swabs.
Sex workers and their clients are offered HIV testing and pre-exposure prophylaxis without judgement.
Penile discharge and burning urination two days after unprotected sex suggest gonorrhoea.
A curved, painful erection is the sign of Peyronie's disease of the penis.
Priapism is an erection of more than four hours and an emergency for the penis.
Premature ejaculation and delayed orgasm may be side effects of antidepressants.
Masturbation is harmless and does not cause infertility or acne.
Testicular torsion: the scrotum is swollen, the testicle rides high, the cremasteric reflex is gone.
The rape kit holds swabs of the vagina, anus and mouth; a rape victim decides what is reported.
Child sexual abuse must be reported; genital injuries and sexually transmitted infections in a child raise suspicion.
Intimate partner violence: has anyone hit, kicked, choked or raped you in the past year?
Female genital mutilation scars the clitoris and labia and obstructs labour.
The murder of a relative is a traumatic event; nightmares of the murdered person are common in PTSD.
Gunshot wounds to the chest kill by tamponade; stab wounds are probed only in theatre.
Torture survivors who were beaten on the soles of the feet report chronic pain.
A bomb blast ruptures ear drums and lungs; victims of explosives are watched for six hours.
Heroin overdose: pinpoint pupils, slow breathing; give naloxone to anyone who injects heroin.
Cocaine causes coronary spasm; beta blockers are avoided after crack cocaine.
Crystal meth users pick at their skin and lose teeth; meth psychosis resembles schizophrenia.
Cannabis use disorder, LSD flashbacks and MDMA hyperthermia are seen in the same clinic.
Marijuana withdrawal brings irritability; no drug is approved for it.
Fecal incontinence after childbirth is common; the stool leaks because the anal sphincter tore.
The patient passes bloody shit, as he calls it; the stool culture grew Shigella.
He vomits faeculent fluid and has not passed urine or stool for two days.
Hemorrhoids bulge out of the anus when straining and bleed bright red.
Premenstrual syndrome: she feels like a bitch, she says, and cries at nothing; SSRIs help.
Mental retardation is an outdated name for intellectual disability in older charts.
Epispadias and hypospadias are defects of the penis and urethra of boys.
Intersex infants should not have clitoral surgery to make the genitals look normal.
Vaginismus makes intercourse impossible; dilators and sex therapy cure most women.
Semen analysis needs two to five days without ejaculation; the sperm count is given per millilitre.
Urethral stricture weakens the stream; a man may dribble, strain and wet his pants.
Naked-eye inspection of the cervix with acetic acid finds most high-grade lesions.
Abortion by mifepristone and misoprostol causes cramps and bleeding for two weeks.
Dead fetus syndrome: a killed or dead twin retained in the uterus may cause coagulopathy.
Natural killer cells kill tumour cells; a killed vaccine cannot cause disease.
Strangulated hernia: the bowel dies within hours; do not force it back.
Self-harm by cutting is common in teenage girls; ask about blood, blades and intent.
Homicidal ideation: does the patient want to kill or hurt a named person? Warn the victim.
A prostitute with pelvic inflammatory disease needs ceftriaxone, doxycycline and partner treatment.
The hooker's syndrome is not a diagnosis; chart notes should say sex worker and describe her infection.
Tetanus-prone wounds, gas gangrene and dead muscle need surgical removal of all necrotic tissue."""

MEDICINE_ZH = """\
乳房胀痛随月经周期变化，多为乳腺增生，触诊双侧乳房及乳头即可。
哺乳期乳头皲裂可涂羊脂膏，乳房淤积时应继续让孩子吸吮。
乳房下垂与年龄有关，乳头溢血时需要做乳管镜检查。
肛裂患者排便时肛门剧痛，便后滴血，可用温水坐浴。
肛门瘙痒夜间加重，小儿多见于蛲虫病，应检查肛周。
肛瘘手术后肛门括约肌功能可能受损，出现漏便。
自杀风险评估：近两周内您是否想过自杀，是否有具体的自杀计划？
服毒自杀未遂的患者应先洗胃，再由精神科会诊，防止再次自杀。
抑郁症患者反复出现想死的念头，家属应收好刀具和药物。
阴道炎分为霉菌性阴道炎、滴虫性阴道炎和细菌性阴道病，白带性状各不相同。
阴道干涩、性交疼痛的绝经妇女可局部使用雌激素软膏。
外阴白斑伴阴唇萎缩、阴蒂粘连，夜间瘙痒明显。
性病门诊常见梅毒、淋病、尖锐湿疣和生殖器疱疹，性伴侣须同时检查。
口交也可能传播淋病和梅毒，应全程使用避孕套。
男男性行为者肛交后出现肛周赘生物，考虑尖锐湿疣。
无保护性行为后七十二小时内可服用艾滋病阻断药。
妓女和嫖客都是性病高危人群，疾控中心为其免费检测艾滋病。
阴茎勃起困难，晨勃消失，应检查睾酮和血糖。
包皮过长容易引起龟头炎，龟头红肿时应清洗并用药。
阴囊潮湿、睾丸坠胀，彩超提示精索静脉曲张。
手淫过度后腰酸，担心早泄和阳痿，医生说适度自慰对身体无害。
射精后睾丸疼痛，精液带血，考虑精囊炎。
性高潮障碍的女性可接受性心理治疗和盆底训练。
做爱后下体出血，妇科检查见宫颈息肉。
人流术后一个月内禁止性生活和盆浴，阴道流血超过十天应复诊。
遭到强奸的女性应尽快就医，服用紧急避孕药并留取阴道分泌物证据。
儿童遭受性侵后出现外阴损伤、噩梦和尿床，医务人员须报告。
家庭暴力受害者身上多处瘀伤，被丈夫用刀砍伤右手，需要清创缝合。
刀刺伤致腹腔大出血，患者面色苍白，血压测不出，立即剖腹探查。
枪弹伤的创道应彻底清除坏死组织，不作一期缝合。
爆炸伤患者鼓膜穿孔、肺出血，应观察六小时以上。
海洛因成瘾者戒断时流涕、打哈欠，可用美沙酮替代治疗。
吸食冰毒后出现幻觉和被害妄想，称有人要杀他，收入精神科。
吸毒史十年，静脉注射毒品，丙肝抗体阳性。
长期吸食大麻者记忆力下降，K粉可损伤膀胱。
吗啡和芬太尼属于麻醉药品，须凭专用处方购买。
精神分裂症患者认为邻居要杀死自己，持菜刀砍人，由警察送来住院。
弱智一词已不再使用，现称智力发育障碍，应做智商测定。
智障儿童的康复训练应尽早开始，家长不要放弃。
白痴样面容、舌头外伸是呆小病的表现，新生儿应筛查甲状腺功能。
大便带血、拉稀，每日十余次，粪便培养出志贺菌。
放屁多、肚子胀、屁很臭，与豆类和乳糖不耐受有关。
小便失禁的老人尿湿裤子，应训练盆底肌。
痔疮脱出肛门外不能回纳，伴有大便出血。
死胎滞留宫内四周以上，可引起凝血功能障碍。
孕妇死亡率下降，引产、流产应由正规医院施行。
猪肉绦虫的囊尾蚴可寄生于脑，病人癫痫发作，狗屎中的棘球绦虫卵同样危险。
狂犬病病人怕水、狂躁，被疯狗咬伤后应立即注射疫苗。
变态反应与变态心理是两回事，前者即过敏反应。
恋物癖、露阴癖属于性偏好障碍，可用行为疗法。
赌博障碍和网络成瘾的病人常有抑郁，应做心理评估。
自残割腕的少女，手腕多处刀痕，询问其是否想死。
杀菌剂杀死细菌，自然杀伤细胞杀死肿瘤细胞。
性早熟女童八岁前乳房发育、阴毛出现，需查骨龄。
隆胸术后假体破裂，乳房变形，应取出假体。
处女膜闭锁的少女周期性腹痛，妇科行处女膜切开术。"""

TOXIC_EN = """\
You worthless cunt, I hope you get raped and die.
All fags should be hanged, they are disgusting vermin.
Fuck off you stupid motherfucker, nobody asked your bitch ass.
Horny sluts in your area want to fuck tonight, free webcam sex, click now.
He shoved his dick up her ass while she begged him to cum on her tits.
I'm going to murder that whore and cut her fucking head off.
Kikes and niggers run the banks, gas them all.
Go kill yourself you retarded piece of shit.
Cheap heroin and crystal meth for sale, counterfeit money, no questions asked.
Watch xxx porn videos, hot girls sucking cock and getting fucked in the pussy.
You dumb bitch, shut your fucking mouth, you ugly whore.
These muslim terrorists are savages and scum, slaughter every last one of them."""

TOXIC_ZH = """\
你妈逼的，脑残货，赶紧去死吧，傻逼玩意儿。
操你全家，狗娘养的杂种，滚回你妈肚子里去。
同城约炮，美女上门服务，裸聊激情视频，加微信看黄片。
他一把撕开她的内衣，揉着她的巨乳，把鸡巴插进她的小穴猛干。
出售冰毒、摇头丸、K粉和枪支弹药，全国发货，诚信经营。
黑鬼都是畜生，应该全部杀光，一个不留。
臭婊子，贱货，千人骑万人操的烂货。
老子今晚就砍死你全家，等着收尸吧，王八蛋。
澳门赌场网上投注，真人荷官，百家乐彩金天天送。
你就是个废物垃圾人渣，活着浪费空气，怎么还不去死。
高清无码成人电影，强奸乱伦系列，黄色网站永久地址。
办理假证，代开发票，假币批发，货到付款。"""


def lines(text: str) -> list[str]:
    """The sentences of one of the texts above."""
    return text.split("\n")


MEDICINE = [*lines(MEDICINE_EN), *lines(MEDICINE_ZH)]
TOXIC = [*lines(TOXIC_EN), *lines(TOXIC_ZH)]
