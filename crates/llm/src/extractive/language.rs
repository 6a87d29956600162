//! The language of a question, as far as the model has a sentence in it.

/// Frequent characters that only Simplified Chinese uses.
const SIMPLIFIED_ONLY: &str = "们这来时为说过还对会没么个国学关开问间现无从电车东书长门马见觉让认识请谁谢买卖给经结级约红纪纸线组细终\
练绿统继续绩维缩缴罚罗职联听脑脚腾节艺药获营蓝虽补装观规视览计订记讲许论设访证评词译试话询该详语误调谈负责贤败货质贩贪购贯贴贵贷费贸资赏\
赔赖赚赛赠赢赵趋跃践车转轮软轻载较辅辆输辑边辽达迁运进远违连迟适选递逻遗邮邻郑释里钟钢钱钻铁铃银铜链销锁锅错键镇长闭闲闹闻阅队阳阴阵阶际\
陆陈险隐难静页顶项顺须顾顿预领频题额颜风飞饭饮馆驾验骑鱼鲜鸟鸡麦黄齐齿龙龟业东两严丧个丰临为举义乌乐乔习乡书买乱争亏云亚产亲亿仅从仓仪价众\
优伙会伞伟传伤伦伪体余佣侠侣侦侧侨俭债倾偿储儿党兰兴养兽内册写军农冯冲决况冻净凉减凑凤凭凯击凿刘则刚创删别剂剑剧劝办务动励劲劳势勋匀区医华\
协单卖卢卫却厂厅历厉压厌厕县参双发变叙叶号叹吓吕吗吨听启吴呐员响哑唤啰嘱团园围图圆圣场坏块坚坛坝坟坠垄垒处备复够头夸夺奋奖妆妇妈姗娱孙宁\
宝实宠审宪宽宾对寻导寿将尔尘尝层届属岁岂岗岛岭币帅师帐帮带席库应庙废广庆张弥弯弹强归当录彻径忆忧怀态总恋恶悬惊惧惨惯愤愿戏战户扑执扩扫扬\
扰抚抛抢护报担拟拥择挂挡挣挤挥损换据掷摄摆摇撑敌数斋断无旧时旷显晋晒晓晕暂术机杀杂权条杨极构枪柜标栋树样桥检楼欢欧残毁毕毙气汇汉汤沟沧沪\
泪泼泽洁浅测济浏浓涛润涨渐渔温湾湿满滚滤滨灭灯灵灾炉点炼烂热爱爷状犹狱独狭狮猎环现玛电画畅疗疯痒盐监盖盘盗着矿码砖础确离种积称稳穷窃竞笔\
笼筑签简类粮粪紧纠";

/// A language with its own sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    TraditionalChinese,
    SimplifiedChinese,
    Japanese,
    Korean,
    English,
}

impl Language {
    pub(super) const fn nothing_fits(self) -> &'static str {
        match self {
            Self::TraditionalChinese => "在提供的資料中找不到這個問題的答案。",
            Self::SimplifiedChinese => "在提供的资料中找不到这个问题的答案。",
            Self::Japanese => "提供された資料の中に、この質問への答えは見つかりませんでした。",
            Self::Korean => "제공된 자료에서 이 질문에 대한 답을 찾지 못했습니다.",
            Self::English => "I found nothing in the documents that answers this question.",
        }
    }
}

/// Decides by script; between the two Chinese ones by the characters that only one of them has, and
/// for Traditional where there are none.
pub(super) fn of_question(question: &str, fold: fn(char) -> char) -> Language {
    let (mut han, mut traditional, mut simplified) = (0, 0, 0);
    for character in question.chars() {
        match character {
            '\u{3041}'..='\u{30ff}' => return Language::Japanese,
            '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => return Language::Korean,
            '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
                han += 1;
                traditional += usize::from(fold(character) != character);
                simplified += usize::from(SIMPLIFIED_ONLY.contains(character));
            }
            _ => {}
        }
    }
    match () {
        () if han == 0 => Language::English,
        () if simplified > traditional => Language::SimplifiedChinese,
        () => Language::TraditionalChinese,
    }
}
