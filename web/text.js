// text.js - what the playground says, in English and Japanese. A language more is a column more.
const rows = {
  chat: ["Chat", "チャット"], pictures: ["Pictures", "画像"], compare: ["Compare", "比較"], dashboard: ["Dashboard", "状況"],
  key: ["Key", "キー"], keyHint: ["The server's key. It stays in this tab.", "サーバーのキー。このタブだけに残ります。"],
  keyWrong: ["The server refuses this key.", "このキーは受け付けられません。"], language: ["Language", "言語"], theme: ["Light or dark", "明暗"],
  model: ["Model", "モデル"], noModel: ["No model of this kind is installed. `hearth pull NAME` fetches one.", "この種類のモデルがありません。`hearth pull 名前` で取得できます。"],
  system: ["System text", "システム文"], parameters: ["Parameters", "パラメーター"], message: ["Message", "メッセージ"],
  send: ["Send", "送信"], stop: ["Stop", "停止"], retry: ["Again", "再生成"], edit: ["Edit", "編集"], branch: ["Branch", "分岐"], save: ["Save", "保存"],
  cancel: ["Cancel", "取消"], copy: ["Copy", "コピー"], copied: ["Copied", "コピーしました"], notCopied: ["The browser did not allow it", "ブラウザーが許可しませんでした"],
  code: ["View code", "コードを見る"], close: ["Close", "閉じる"], newTalk: ["New conversation", "新しい会話"], talks: ["Conversations", "会話"],
  remove: ["Delete", "削除"], exportTalks: ["Export", "書き出し"], importTalks: ["Import", "読み込み"], badFile: ["This is no file of conversations", "会話のファイルではありません"],
  thoughts: ["Thoughts", "思考"], call: ["Calls", "呼び出し"], result: ["Result of this call", "呼び出しの結果"], you: ["You", "あなた"],
  attach: ["Add a picture", "画像を追加"], blind: ["This model does not see pictures", "このモデルは画像を見ません"],
  tokensPerSecond: ["tokens/s", "トークン/秒"], tokens: ["tokens", "トークン"], stopped: ["stopped", "停止しました"], cut: ["cut at its limit", "上限で終了"],
  byDefault: ["as the server does", "サーバーの既定"], tools: ["Tools (JSON)", "ツール (JSON)"], schema: ["Answer's schema (JSON)", "回答のスキーマ (JSON)"],
  badJson: ["is not JSON", "は JSON ではありません"], effort: ["Reasoning", "推論"],
  prompt: ["Prompt", "プロンプト"], negative: ["Not in the picture", "ネガティブ"], style: ["Style", "スタイル"], noStyle: ["none", "なし"], shape: ["Shape", "縦横比"],
  steps: ["Steps", "ステップ"], guidance: ["Guidance", "ガイダンス"], seed: ["Seed", "シード"], count: ["Count", "枚数"], draw: ["Draw", "描画"],
  adapters: ["Adapters", "アダプター"], start: ["Start from a picture", "元の画像"], strength: ["Strength", "強さ"], mask: ["Paint what changes", "変更部分を塗る"],
  outpaint: ["Grow by (pixels)", "広げる (ピクセル)"], left: ["left", "左"], right: ["right", "右"], top: ["top", "上"], bottom: ["bottom", "下"],
  brush: ["Brush", "ブラシ"], clear: ["Clear", "消去"], gallery: ["Gallery", "ギャラリー"], sameAgain: ["Same again", "同じ設定"], useAsStart: ["Start from it", "元にする"],
  download: ["Download", "保存"], sideBySide: ["Side by side", "並べる"], step: ["step", "ステップ"], of: ["of", "/"], words: ["words added", "追加語"],
  kind: ["Kind", "種類"], add: ["Add", "追加"], run: ["Run", "実行"], seconds: ["s", "秒"], cost: ["cost", "費用"],
  ready: ["ready", "準備完了"], notReady: ["not ready", "準備中"], away: ["away", "停止中"], active: ["active requests", "処理中"], queue: ["waiting", "待ち"],
  running: ["running", "実行中"], generated: ["generated tokens/s", "生成トークン/秒"], prompts: ["prompt tokens/s", "入力トークン/秒"], stepsPerSecond: ["picture steps/s", "画像ステップ/秒"],
  memory: ["memory", "メモリー"], uptime: ["up for", "稼働"], firstToken: ["Time to first token", "最初のトークンまで"], whole: ["Whole requests", "要求全体"], between: ["Between tokens", "トークン間隔"],
  cache: ["cache pages", "キャッシュ"], usage: ["Usage", "使用量"], keys: ["Keys", "キー"], requests: ["requests", "要求"], spent: ["spent", "費用"],
  adminOnly: ["Usage and keys are shown to a key with the scope admin.", "使用量とキーは admin スコープのキーで表示されます。"],
  noStore: ["This server keeps no account.", "このサーバーは記録を持ちません。"], unavailable: ["Installed, but cannot run", "実行できないモデル"], problem: ["Problem", "問題"],
  project: ["project", "プロジェクト"], state: ["state", "状態"], notKept: ["The browser does not keep conversations any more: export them", "ブラウザーに保存できません。書き出してください"],
  mostColumns: ["Six at most", "六つまで"], failed: ["That failed", "失敗しました"], unreachable: ["The server does not answer", "サーバーが応答しません"], previous: ["Previous", "前"], next: ["Next", "次"],
};
const languages = ["en", "ja"];

function remembered() {
  try { return localStorage.getItem("hearth-language"); } catch { return null; }
}
let column = Math.max(0, languages.indexOf(remembered() || (navigator.language || "en").slice(0, 2)));

export const t = (name) => rows[name][column];
export const language = () => languages[column];
export const languageNames = [["en", "English"], ["ja", "日本語"]];
export function setLanguage(code) {
  column = Math.max(0, languages.indexOf(code));
  document.documentElement.lang = languages[column];
  try { localStorage.setItem("hearth-language", languages[column]); } catch { /* for this visit */ }
}
